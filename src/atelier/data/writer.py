"""Writing a dataset's files. The bytes depend on the images and the parameters alone: no time, machine or version."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from atelier.data.pictures import Picture, Rejected, Source, content_hash
from atelier.data.splits import SPLITS, Split, split_of
from atelier.data.store import FORMAT_VERSION, QUARANTINE_COLUMNS, SHARD_BYTES, ManifestRow, shard_name
from atelier.params import Dataset


@dataclass(frozen=True)
class Row:
    """One accepted image: its line of the manifest, but for its place in the shards."""

    split: Split
    sha256: str
    name: str
    label: int | None
    position: int  # in the spool


def spool_images(
    items: Iterable[Picture | Rejected], dataset: Dataset, spool: BinaryIO
) -> tuple[list[Row], list[Rejected]]:
    """Write each distinct picture's pixels to `spool` as it comes, so that memory stays flat; list what was rejected.

    Of pictures with equal pixels the first is kept, which is the first by name.
    """
    rows: list[Row] = []
    rejected: list[Rejected] = []
    first_of: dict[str, str] = {}
    for item in items:
        if isinstance(item, Rejected):
            rejected.append(item)
            continue
        sha256 = content_hash(item.pixels_HWC)
        if sha256 in first_of:
            rejected.append(Rejected(item.name, f"duplicate of {first_of[sha256]}"))
            continue
        first_of[sha256] = item.name
        rows.append(Row(_split(sha256, item.is_test, dataset), sha256, item.name, item.label, len(rows)))
        spool.write(item.pixels_HWC.tobytes())
    return rows, rejected


def write_dataset(
    folder: Path,
    dataset: Dataset,
    source: Source,
    source_digest: str,
    rows: Sequence[Row],
    rejected: Sequence[Rejected],
    spool: BinaryIO,
) -> None:
    """Write shards, manifest, quarantine table and dataset.json into an empty folder.

    Args:
        folder: where to.
        dataset: the parameters; all but `path` are stored.
        source: for its class names.
        source_digest: the source's identity.
        rows: the accepted images, at least one, in any order.
        rejected: the quarantine table, in any order.
        spool: what `spool_images` wrote.
    """
    ordered = sorted(rows, key=lambda row: (SPLITS.index(row.split), row.sha256))
    spool.flush()
    shape = (len(rows), dataset.image_size, dataset.image_size, dataset.channels)
    spooled_NHWC = np.memmap(spool, np.uint8, "r", shape=shape)
    lines = []
    per_shard = max(1, SHARD_BYTES // spooled_NHWC[0].nbytes)
    for number, start in enumerate(range(0, len(ordered), per_shard)):
        shard_rows = ordered[start : start + per_shard]
        _write_shard(folder / shard_name(number), shard_rows, spooled_NHWC)
        for place, row in enumerate(shard_rows):
            where = (*shape[1:], shard_name(number), place * spooled_NHWC[0].nbytes)
            lines.append((row.sha256, row.name, "" if row.label is None else row.label, row.split, *where))
    _write_csv(folder / "manifest.csv", ManifestRow._fields, lines)
    write_quarantine(folder / "quarantine.csv", rejected)
    described = {
        "format_version": FORMAT_VERSION,
        # The source's digest says what was read; where it lay differs between machines.
        "params": dataset.model_dump(mode="json", exclude={"path"}),
        "source_digest": source_digest,
        "class_names": source.class_names,
        "counts": {split: sum(row.split == split for row in rows) for split in SPLITS},
    }
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    (folder / "dataset.json").write_bytes(text.encode("utf-8", errors="backslashreplace"))


def write_quarantine(path: Path, rejected: Iterable[Rejected]) -> None:
    """Write the quarantine table, sorted by name."""
    _write_csv(path, QUARANTINE_COLUMNS, sorted((item.name, item.reason) for item in rejected))


def _split(sha256: str, is_test: bool | None, dataset: Dataset) -> Split:
    if is_test:
        return "test"
    return split_of(sha256, dataset.test_fraction if is_test is None else 0.0, dataset.validation_fraction)


def _write_shard(path: Path, rows: Sequence[Row], spooled_NHWC: NDArray[np.uint8]) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(spooled_NHWC[row.position].tobytes())


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[Sequence[object]]) -> None:
    # backslashreplace: a file name of a Linux file system need not be text
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
