"""Datasets stored through the real writer without a source, and the three stages of an ingest in a
row."""

from atelier.data.ingest import stages
from atelier.data.ingest.reading import picture_statistics
from atelier.data.ingest.records import Accepted
from atelier.data.ingest.writer import write_dataset
from atelier.data.sources.pictures import ELSEWHERE, Candidate, content_hash
from atelier.data.splits import SPLITS
from atelier.data.staging import building, swap_in
from atelier.data.store import read_dataset
from atelier.params import Dataset


def store_pictures(project, name, dataset, pictures, class_names=(), before=None):
    """Write `data/<name>` and open it.

    Args:
        project: folder; made if missing.
        name: of the dataset.
        dataset: its parameters.
        pictures: tuples (pixels_HWC, class name or "", split), all different.
        class_names: in the order of their numbers.
        before: the version that was stored there before, whose shards are kept.
    """
    project.mkdir(parents=True, exist_ok=True)
    known = set(before.manifest.sha256) if before else set()
    pixels, accepted = {}, []
    for number, (pixels_HWC, class_name, split) in enumerate(pictures):
        sha256 = content_hash(pixels_HWC)
        pixels[sha256] = pixels_HWC
        place, statistics = ELSEWHERE if sha256 in known else number, picture_statistics(pixels_HWC)
        candidate = Candidate(
            f"{number}.png", 0, class_name, "", sha256, *pixels_HWC.shape, place, 0, *statistics
        )
        accepted.append(Accepted(candidate, split))
    accepted.sort(key=lambda item: (SPLITS.index(item.split), item.candidate.sha256))
    described = {"source_digest": "made by a test", "quarantined": {}}
    with building(project, name) as new:
        write_dataset(
            new,
            dataset,
            accepted,
            tuple(class_names),
            before,
            lambda x: pixels[x.sha256],
            described,
        )
        swap_in(project, name, new)
    return read_dataset(project, name)


def stored_dataset(
    project, pictures, labels=None, splits=None, name="made", image_size=16, before=None
):
    """`store_pictures` of HWC pictures that are all train and of no class, unless labels and splits
    are given."""
    labels, splits = labels or [""] * len(pictures), splits or ["train"] * len(pictures)
    dataset = Dataset(
        source="folder", path="raw", image_size=image_size, channels=pictures[0].shape[-1]
    )
    class_names = sorted(set(labels) - {""})
    return store_pictures(
        project,
        name,
        dataset,
        list(zip(pictures, labels, splits, strict=True)),
        class_names,
        before,
    )


def ingest_all_stages(project, name, dataset):
    """Read, validate and store, as the flow does."""
    folder = stages.read(project, name, dataset)
    findings = stages.validate(project, name, dataset, folder)
    return stages.store(project, name, dataset, folder, findings)
