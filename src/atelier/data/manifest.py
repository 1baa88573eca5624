"""The manifest of a stored dataset.

One row an image, held as columns, so that a million rows stay small.

`manifest.csv` is sorted by split and content hash. It names no file of the source: a renamed
picture is the same data.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from atelier.data.splits import SPLITS, Split

NO_LABEL = -1  # in `labels`: a picture outside of every class


class ManifestRow(NamedTuple):
    """One line of manifest.csv; the names are its columns."""

    sha256: str
    label: int  # NO_LABEL: none; written as an empty field
    split: Split
    source: int  # position of its source in the dataset's parameters
    height: int
    width: int
    channels: int
    shard: str
    offset: int  # bytes
    mean: float  # of all its values, in [0, 255]
    std: float


# Format 1 also had the file's name, and neither source, mean nor std.
DEFAULTS = {"source": "0", "mean": "nan", "std": "nan"}


@dataclass(frozen=True)
class Manifest:
    """The rows of one split, or of several, as columns of equal length."""

    sha256: list[str]
    labels: NDArray[np.int64]
    splits: list[Split]
    sources: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    channels: NDArray[np.int64]
    shards: list[str]
    offsets: NDArray[np.int64]
    means: NDArray[np.float64]
    stds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.sha256)

    def rows(self) -> Iterable[ManifestRow]:
        """All rows, as they are written."""
        numbers = (
            column.tolist() for column in (self.sources, self.heights, self.widths, self.channels)
        )
        places = (self.shards, self.offsets.tolist(), self.means.tolist(), self.stds.tolist())
        columns = zip(
            self.sha256, self.labels.tolist(), self.splits, *numbers, *places, strict=True
        )
        return map(ManifestRow._make, columns)

    def of(self, split: Split) -> Manifest:
        """The rows of one split."""
        start = self.splits.index(split) if split in self.splits else 0
        part = slice(start, start + self.splits.count(split))  # sorted by split
        return Manifest(**{name: column[part] for name, column in vars(self).items()})


def read_manifest(content: bytes) -> Manifest:
    """Parse manifest.csv, of this format or of format 1.

    Raises:
        ValueError, KeyError: if it is damaged.
    """
    header, *rows = read_csv(content)
    columns = (
        dict(zip(header, zip(*rows, strict=True), strict=True))
        if rows
        else dict.fromkeys(header, ())
    )
    if any(len(row) != len(header) for row in rows) or not set(columns["split"]) <= set(SPLITS):
        raise ValueError("a row of manifest.csv is damaged")

    def numbers(name: str, dtype: type[Any] = np.int64) -> NDArray[Any]:
        values = columns[name] if name in columns else (DEFAULTS[name],) * len(rows)
        return np.array(values, dtype=np.str_).astype(dtype)

    labels = np.array([label or str(NO_LABEL) for label in columns["label"]], dtype=np.str_).astype(
        np.int64
    )
    return Manifest(
        list(columns["sha256"]),
        labels,
        list(columns["split"]),
        numbers("source"),
        numbers("height"),
        numbers("width"),
        numbers("channels"),
        list(columns["shard"]),
        numbers("offset"),
        numbers("mean", np.float64),
        numbers("std", np.float64),
    )


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write manifest.csv."""
    write_csv(path, ManifestRow._fields, map(_cells, rows))


def _cells(row: ManifestRow) -> list[Any]:
    """A row as it is written: a picture without a label has an empty cell there."""
    cells = row._asdict()
    if row.label == NO_LABEL:
        cells["label"] = ""
    return list(cells.values())


def digest_of(
    sha256: Sequence[str], labels: Iterable[int], splits: Iterable[str], class_names: Sequence[str]
) -> str:
    """Identity of a dataset: which images, in which class and split.

    How they lie in the shards plays no part.

    Args:
        sha256: content hashes, in the order of the manifest.
        labels: positions in `class_names`, or NO_LABEL.
        splits: of each image.
        class_names: of the dataset.
    """
    digest = hashlib.sha256(json.dumps(list(class_names)).encode())
    for row in zip(sha256, labels, splits, strict=True):
        digest.update("{}{},{}\n".format(*row).encode())
    return digest.hexdigest()


def read_csv(content: bytes) -> list[list[str]]:
    """All rows of a CSV file that `write_csv` wrote, the header first."""
    text = content.decode("utf-8")
    if '"' not in text:
        # Without a quote no field holds a comma or a line end, and splitting takes half the time:
        # 0.1 s of 70,000 rows.
        return [line.split(",") for line in text.removesuffix("\n").split("\n")]
    # To the reader a carriage return ends a row, but not to the writer. What stands for it is in no
    # UTF-8 text.
    rows = csv.reader(io.StringIO(text.replace("\r", "\udc0d"), newline=""))
    return [[field.replace("\udc0d", "\r") for field in row] for row in rows]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file with a header; its texts are valid UTF-8."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
