"""Reading a stored dataset. `writer.py` writes it.

`data/<name>/` holds `shard-00000.bin` ... (pixels, HWC, image after image), `manifest.csv` (one row
an image) and `dataset.json` (parameters, classes, counts). Beside them, for people and not
versioned, lie the notes of the last ingest on this machine: `quarantine.csv` (what was rejected and
why), `quarantine.png` (how it looks), `validation.md` (counts and warnings) and `names.csv` (which
file is which image).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.data.images import Images, Shards
from atelier.data.manifest import Manifest, digest_of, read_csv, read_manifest
from atelier.data.splits import SPLITS, Split
from atelier.data.staging import repair
from atelier.errors import DataError

FORMAT_VERSION = 2
LOCAL_NOTES = (
    "quarantine.csv",
    "quarantine.png",
    "validation.md",
    "names.csv",
)  # data.dvc doesn't count them


@dataclass(frozen=True)
class DatasetInfo:
    """What a model needs to know before it sees an image."""

    image_size: int | None  # pixels, height and width; None: every image has its own size
    channels: int
    num_classes: int  # 0: no labels
    class_names: tuple[str, ...]
    counts: dict[Split, int]


@dataclass(frozen=True)
class StoredDataset:
    """One version of a dataset on disk."""

    name: str
    info: DatasetInfo
    digest: str  # which images, in which class and split: the identity of this version
    format_version: int
    params: dict[str, Any]  # the Dataset it was made with, without paths
    source_digest: str
    quarantined: dict[str, int]  # number of rejected pictures by reason
    manifest: Manifest
    shards: Shards

    @property
    def num_quarantined(self) -> int:
        """How many pictures were rejected."""
        return sum(self.quarantined.values())

    def images(self, split: Split) -> Images:
        """The split's images, in the order of `labels` and `hashes`."""
        return Images(
            self.manifest.of(split), self.shards, self.info.image_size, self.info.channels
        )

    def all_images(self) -> Images:
        """The images of all splits, in the order of the manifest."""
        return Images(self.manifest, self.shards, self.info.image_size, self.info.channels)

    def labels(self, split: Split) -> NDArray[np.int64] | None:
        """labels_N in [0, num_classes), NO_LABEL outside of all classes; None if there are none."""
        return self.manifest.of(split).labels if self.info.num_classes else None

    def hashes(self, split: Split) -> list[str]:
        """Content hash of each image, as hexadecimal sha256."""
        return self.manifest.of(split).sha256


def is_stored(project_root: Path, name: str) -> bool:
    """Whether `data/<name>` is there."""
    repair(project_root, name)
    return (project_root / "data" / name / "dataset.json").is_file()


def read_dataset(project_root: Path, name: str) -> StoredDataset:
    """Open `data/<name>`; pixels stay on disk.

    Raises:
        DataError: if it is not there, was stored in another format, or is damaged.
    """
    if not is_stored(project_root, name):
        raise DataError(
            f"data/{name} does not exist. Run `atelier run`, which ingests it, or `dvc pull`."
        )
    folder = project_root / "data" / name
    stored = open_version(name, lambda file: folder / file)
    if stored.format_version != FORMAT_VERSION:
        raise DataError(
            f"data/{name} is stored in format {stored.format_version}; models are trained on "
            f"format {FORMAT_VERSION}. "
            "Run `atelier run`, which ingests it again."
        )
    return stored


def dataset_digest(project_root: Path, name: str) -> str:
    """`read_dataset(...).digest` without reading the manifest.

    Raises:
        DataError: if the dataset is not there, or damaged.
    """
    if not is_stored(project_root, name):
        return read_dataset(project_root, name).digest  # its message
    try:
        return str(
            json.loads((project_root / "data" / name / "dataset.json").read_text(encoding="utf-8"))[
                "digest"
            ]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from None


def open_version(name: str, locate: Callable[[str], Path]) -> StoredDataset:
    """Open any version of a dataset, of this format or an older one, wherever its files lie.

    Args:
        name: of the dataset.
        locate: path of a file of the dataset's folder.

    Raises:
        DataError: if it was stored in a newer format, or is damaged.
    """
    try:
        return _read(name, locate)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from None


def local_table(project_root: Path, name: str, table: str) -> list[list[str]]:
    """Rows of a table among LOCAL_NOTES, without the header.

    Empty where this machine never ingested the dataset.
    """
    try:
        return read_csv((project_root / "data" / name / table).read_bytes())[1:]
    except FileNotFoundError:
        return []


def _read(name: str, locate: Callable[[str], Path]) -> StoredDataset:
    described = json.loads(locate("dataset.json").read_text(encoding="utf-8"))
    version = described["format_version"]
    if version not in (1, FORMAT_VERSION):
        raise DataError(
            f"data/{name} is stored in format {version}; this atelier reads formats up to "
            f"{FORMAT_VERSION}. "
            "Use a newer atelier."
        )
    manifest = read_manifest(locate("manifest.csv").read_bytes())
    params, class_names = described["params"], tuple(described["class_names"])
    counts: dict[Split, int] = described["counts"]
    info = DatasetInfo(
        params["image_size"], params["channels"], len(class_names), class_names, counts
    )
    digest = digest_of(manifest.sha256, manifest.labels.tolist(), manifest.splits, class_names)
    _check(name, locate, manifest, described, digest)
    return StoredDataset(
        name,
        info,
        digest,
        version,
        params,
        described["source_digest"],
        described.get("quarantined", {}),
        manifest,
        Shards(locate),
    )


def _check(
    name: str,
    locate: Callable[[str], Path],
    manifest: Manifest,
    described: Mapping[str, Any],
    digest: str,
) -> None:
    """Counts and sizes; the pixels themselves are DVC's to check (`dvc status`)."""
    counts = {split: manifest.splits.count(split) for split in SPLITS}
    if counts != described["counts"]:
        raise _damaged(name, f"manifest.csv lists {counts}, dataset.json {described['counts']}")
    if described.get("digest", digest) != digest:  # format 1 had none
        raise _damaged(name, "manifest.csv is not the one that dataset.json describes")
    ends = manifest.offsets + manifest.heights * manifest.widths * manifest.channels
    needed: dict[str, int] = {}
    for shard, end in zip(manifest.shards, ends.tolist(), strict=True):
        needed[shard] = max(end, needed.get(shard, 0))
    for shard, end in needed.items():
        if (found := locate(shard).stat().st_size) < end:
            raise _damaged(name, f"{shard} has {found:,} bytes, expected at least {end:,}")


def _damaged(name: str, problem: str) -> DataError:
    return DataError(
        f"data/{name} is damaged: {problem}. Run `dvc checkout --force data.dvc`, or ingest it "
        "again."
    )
