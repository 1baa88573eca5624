"""Datasets stored through the real writer without a source, and the three stages of an ingest in a
row."""

from atelier.data.ingest import stages
from atelier.data.ingest.handmade import store_handmade
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
    return store_handmade(project, name, dataset, pictures, class_names, before, "made by a test")


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
