"""IDX files of one's own as a source: MNIST and its relatives, as pairs of images and labels."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atelier.data.sources.file_sums import file_sums
from atelier.data.sources.idx import open_plain, parse_idx, read_bytes, read_shape
from atelier.data.sources.layout import SPLIT_NAMES
from atelier.data.sources.pictures import Decoded, OpenedSource
from atelier.data.splits import Split
from atelier.errors import DataError
from atelier.params import Source

# train-images-idx3-ubyte.gz, emnist-letters-test-images-idx3-ubyte, train-images.idx3-ubyte
IMAGES = re.compile(r"(?:(?P<part>.+)-)?images[-.]idx3-ubyte(?:\.gz)?")


class _Pair(NamedTuple):
    """A file of images, and its labels where there are some."""

    part: str  # what its name starts with
    split: Split | None
    images: Path
    labels: Path | None


def open_source(project_root: Path, source: Source) -> OpenedSource:
    """Open IDX files; classes are numbers, in numerical order.

    Raises:
        DataError: if they can't be found, are damaged, or don't fit each other.
    """
    pairs = _pairs(project_root / str(source.path))
    sizes = [_shape(pair.images) for pair in pairs]
    labels = [_labels(pair, shape[0]) for pair, shape in zip(pairs, sizes, strict=True)]
    classes: set[int] = set()
    for labels_N in labels:
        if labels_N is not None:
            classes |= set(np.unique(labels_N).tolist())

    def items() -> Iterator[Decoded]:
        for pair, labels_N in zip(pairs, labels, strict=True):
            for position, image_HW in enumerate(_images(pair.images)):
                class_name = None if labels_N is None else str(labels_N[position])
                name = f"{pair.part}/{position:05d}" if pair.part else f"{position:05d}"
                yield Decoded(name, class_name, pair.split, image_HW[:, :, None])

    class_names = tuple(map(str, sorted(classes)))
    return OpenedSource(class_names, items(), sum(shape[0] for shape in sizes))


def source_digest(project_root: Path, source: Source) -> str:
    """sha256 over the files' own, and what they are taken for.

    Raises:
        DataError: if they can't be found.
    """
    root = project_root / str(source.path)
    pairs = _pairs(root)
    files = []
    for pair in pairs:
        files.append(str(pair.images))
        if pair.labels:
            files.append(str(pair.labels))
    sums = file_sums(project_root, root, files)
    lines = []
    for pair in pairs:
        held = [sums[str(pair.images)], sums.get(str(pair.labels)), pair.split]
        lines.append(json.dumps(held))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _pairs(path: Path) -> list[_Pair]:
    if path.is_file():
        return [_pair(path)]
    files = sorted(file for file in path.glob("*") if IMAGES.fullmatch(file.name))
    # An unpacked file goes before its packed twin.
    pairs = {pair.part: pair for pair in map(_pair, reversed(files))}
    if not pairs:
        raise DataError(
            f"{path} holds no IDX images. Expected files named like train-images-idx3-ubyte.gz, "
            "with their labels in train-labels-idx1-ubyte.gz. Name the folder, or one such file, "
            "in params.yaml: datasets.NAME.path."
        )
    return [pairs[part] for part in sorted(pairs)]


def _pair(images: Path) -> _Pair:
    match = IMAGES.fullmatch(images.name)
    if match is None:
        return _Pair("", None, images, None)
    part = match["part"] or ""
    last = part.rpartition("-")[2].lower()
    split = "test" if last == "t10k" else SPLIT_NAMES.get(last)
    start = images.name.rpartition("images")[0]
    for ending in ("-idx1-ubyte", "-idx1-ubyte.gz", ".idx1-ubyte", ".idx1-ubyte.gz"):
        labels = images.with_name(f"{start}labels{ending}")
        if labels.is_file():
            return _Pair(part, split, images, labels)
    return _Pair(part, split, images, None)


def _shape(path: Path) -> tuple[int, ...]:
    with open_plain(path) as file:
        shape = read_shape(file, str(path))
    if len(shape) != 3:
        raise DataError(
            f"{path}: expected images, which have 3 dimensions, found the shape {shape}."
        )
    return shape


def _labels(pair: _Pair, num_images: int) -> NDArray[np.uint8] | None:
    if pair.labels is None:
        return None
    labels_N = parse_idx(read_bytes(pair.labels), str(pair.labels))
    if labels_N.shape != (num_images,):
        raise DataError(
            f"{pair.labels}: expected {num_images:,} labels, one for each image of "
            f"{pair.images.name}, found the shape {labels_N.shape}. The two files do not belong "
            "together."
        )
    return labels_N


def _images(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The images one by one, so that memory stays flat."""
    with open_plain(path) as file:
        count, height, width = read_shape(file, str(path))
        for position in range(count):
            content = file.read(height * width)
            if len(content) != height * width:
                raise DataError(
                    f"{path}: expected {count:,} images, found {position:,}. Fetch the file again."
                )
            yield np.frombuffer(content, np.uint8).reshape(height, width)
        if file.read(1):
            raise DataError(f"{path}: expected {count:,} images, found more. Fetch the file again.")
