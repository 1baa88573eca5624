"""Store pictures that no source holds, through the real writer: noise to measure with, say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atelier.data.ingest.reading import picture_statistics
from atelier.data.ingest.records import Accepted
from atelier.data.ingest.writer import write_dataset
from atelier.data.sources.pictures import ELSEWHERE, Candidate, content_hash
from atelier.data.splits import SPLITS, Split
from atelier.data.staging import building, swap_in
from atelier.data.store import StoredDataset, read_dataset
from atelier.params import Dataset

Handmade = tuple[NDArray[np.uint8], str, Split]  # HWC, class name or "", split


def store_handmade(
    root: Path,
    name: str,
    dataset: Dataset,
    pictures: Iterable[Handmade],
    class_names: Sequence[str] = (),
    before: StoredDataset | None = None,
    origin: str = "handmade",
) -> StoredDataset:
    """Write `data/<name>` and open it.

    Args:
        root: folder; made if missing.
        name: of the dataset.
        dataset: its parameters.
        pictures: all different.
        class_names: in the order of their numbers.
        before: the version that was stored there before, whose shards are kept.
        origin: what stands where the digest of a source would.
    """
    root.mkdir(parents=True, exist_ok=True)
    known = set(before.manifest.sha256) if before else set()
    pixels = {}
    accepted = []
    for number, (pixels_HWC, class_name, split) in enumerate(pictures):
        sha256 = content_hash(pixels_HWC)
        pixels[sha256] = pixels_HWC
        candidate = _candidate(number, pixels_HWC, class_name, sha256)
        if sha256 in known:
            candidate = candidate._replace(position=ELSEWHERE)
        accepted.append(Accepted(candidate, split))
    accepted.sort(key=lambda item: (SPLITS.index(item.split), item.candidate.sha256))
    described = {"source_digest": origin, "quarantined": {}}
    names = tuple(class_names)
    with building(root, name) as new:
        write_dataset(
            new, dataset, accepted, names, before, lambda item: pixels[item.sha256], described
        )
        swap_in(root, name, new)
    return read_dataset(root, name)


def _candidate(
    number: int, pixels_HWC: NDArray[np.uint8], class_name: str, sha256: str
) -> Candidate:
    """A picture as the reading of a source would find it."""
    height, width, channels = pixels_HWC.shape
    mean, std = picture_statistics(pixels_HWC)
    return Candidate(
        name=f"{number}.png",
        source=0,
        class_name=class_name,
        split="",
        sha256=sha256,
        height=height,
        width=width,
        channels=channels,
        position=number,
        phash=0,
        mean=mean,
        std=std,
    )
