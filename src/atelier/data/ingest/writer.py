"""Writing a dataset's files.

Shards are append-only: what an earlier version stored stays where it is.
The bytes depend on the images, the parameters and the version before alone: no time, machine, name
or order.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.data.ingest.records import Accepted
from atelier.data.manifest import NO_LABEL, ManifestRow, digest_of, write_manifest
from atelier.data.sources.pictures import ELSEWHERE, Candidate
from atelier.data.splits import SPLITS
from atelier.data.store import FORMAT_VERSION, StoredDataset
from atelier.params import Dataset

# A shard is the unit that DVC copies, pushes and compares; a larger picture has one of its own.
SHARD_BYTES = 64 * 2**20
# Share of stored bytes that no image uses any more, above which everything is written anew.
MAX_DEAD = 0.5

Place = tuple[str, int]  # shard, offset in bytes


def write_dataset(
    folder: Path,
    dataset: Dataset,
    accepted: Sequence[Accepted],
    class_names: tuple[str, ...],
    before: StoredDataset | None,
    pixels: Callable[[Candidate], NDArray[np.uint8]],
    described: Mapping[str, Any],
) -> None:
    """Write shards, manifest and dataset.json into an empty folder.

    Args:
        folder: where to.
        dataset: the parameters; all but the sources' paths are stored.
        accepted: the images, at least one, in the order of the manifest (split, then content hash).
        class_names: in the order of their numbers.
        before: the stored version, whose shards are linked and not written again; None: there is
            none, or its pixels are of another form.
        pixels: HWC of a candidate.
        described: further entries of dataset.json.
    """
    places = _kept_places(accepted, before)
    kept_shards = {shard for shard, _ in places.values()}
    for shard in kept_shards:
        assert before is not None  # only what it stored is kept
        _link(before.shards.locate(shard), folder / shard)
    candidates = [picture.candidate for picture in accepted]
    new = [candidate for candidate in candidates if candidate.sha256 not in places]
    first = 1 + max(map(_number, kept_shards), default=-1)
    places |= _write_shards(folder, new, first, pixels)
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    rows = [_row(picture, numbers, places[picture.candidate.sha256]) for picture in accepted]
    write_manifest(folder / "manifest.csv", rows)
    sha256 = [row.sha256 for row in rows]
    labels = [row.label for row in rows]
    splits = [row.split for row in rows]
    contents = {
        "format_version": FORMAT_VERSION,
        "digest": digest_of(sha256, labels, splits, class_names),
        "params": stored_params(dataset),
        **described,
        "class_names": class_names,
        "counts": {split: splits.count(split) for split in SPLITS},
    }
    text = json.dumps(contents, indent=2, ensure_ascii=False) + "\n"
    (folder / "dataset.json").write_bytes(text.encode("utf-8", errors="backslashreplace"))


def stored_params(dataset: Dataset) -> dict[str, Any]:
    """The parameters as dataset.json keeps them.

    What was read counts, not where it lay, which differs by machine.
    """
    # Nor the licence: words about the pictures don't change them.
    return dataset.model_dump(
        mode="json", exclude={"sources": {"__all__": {"path"}}, "licence": True}
    )


def _kept_places(accepted: Iterable[Accepted], before: StoredDataset | None) -> dict[str, Place]:
    """Where accepted images lie in the version before; empty if too little of it is still used."""
    if before is None:
        return {}
    candidates = [picture.candidate for picture in accepted]
    wanted = {picture.sha256 for picture in candidates if picture.position == ELSEWHERE}
    rows = list(before.manifest.rows())
    kept = [row for row in rows if row.sha256 in wanted]
    used = sum(row.height * row.width * row.channels for row in kept)
    shards = {row.shard for row in rows}
    total = sum(len(before.shards.bytes_of(shard)) for shard in shards)
    if used < (1 - MAX_DEAD) * total:
        return {}
    return {row.sha256: (row.shard, row.offset) for row in kept}


def _write_shards(
    folder: Path,
    candidates: Iterable[Candidate],
    first: int,
    pixels: Callable[[Candidate], NDArray[np.uint8]],
) -> dict[str, Place]:
    places: dict[str, Place] = {}
    numbers = count(first)
    file = None
    offset = SHARD_BYTES
    for candidate in candidates:
        content = pixels(candidate).tobytes()
        if offset + len(content) > SHARD_BYTES:
            if file is not None:
                file.close()
            shard = f"shard-{next(numbers):05d}.bin"
            offset = 0
            file = (folder / shard).open("wb")
        assert file is not None  # opened with the first image
        file.write(content)
        places[candidate.sha256] = (shard, offset)
        offset += len(content)
    if file is not None:
        file.close()
    return places


def _row(accepted: Accepted, numbers: Mapping[str, int], place: Place) -> ManifestRow:
    picture = accepted.candidate
    shard, offset = place
    return ManifestRow(
        sha256=picture.sha256,
        label=numbers[picture.class_name] if picture.class_name else NO_LABEL,
        split=accepted.split,
        source=picture.source,
        height=picture.height,
        width=picture.width,
        channels=picture.channels,
        shard=shard,
        offset=offset,
        mean=picture.mean,
        std=picture.std,
    )


def _number(shard: str) -> int:
    return int(shard.removeprefix("shard-").removesuffix(".bin"))


def _link(source: Path, target: Path) -> None:
    """The same bytes under another name, without copying them where the file system can."""
    try:
        os.link(source.resolve(), target)  # DVC's cache may have left a symbolic link
    except OSError:
        shutil.copyfile(source, target)
