"""What somebody's pictures are: how many, how large, in colour or not, classes, splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from atelier.data.sources.decoding import OwnSize, decode, quiet_pillow
from atelier.data.sources.opening import open_source
from atelier.data.sources.pictures import Decoded, Encoded, Rejected, Unusable
from atelier.errors import UsageError
from atelier.params import Source

SAMPLE = 60  # pictures that are decoded: enough for a median, in a second or two
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
# Thumbnails of a grey picture that was saved in colour differ by the rounding of JPEG.
GREY_TOLERANCE = 3


@dataclass(frozen=True)
class Survey:
    """What was seen of a source of pictures.

    Attributes:
        source: as params.yaml names its kind.
        path: as params.yaml names it, from the project's folder.
        pictures: how many, as far as names and first bytes tell.
        classes: pictures of each class; empty: they have none.
        splits: pictures of each split that the source itself makes; empty: it makes none.
        looked_at: how many were decoded.
        unusable: how many of those could not be.
        shortest: of the shorter sides of those, the smallest, in pixels.
        typical: of the shorter sides, the median.
        longest: of the longer sides, the largest.
        one_size: whether all are squares of the same size.
        grey: whether none has colours.
        warnings: about the source as a whole.
    """

    source: Literal["folder", "archive", "idx", "parquet"]
    path: str
    pictures: int
    classes: Mapping[str, int]
    splits: Mapping[str, int]
    looked_at: int
    unusable: int
    shortest: int
    typical: int
    longest: int
    one_size: bool
    grey: bool
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def survey(root: Path, pictures: Path) -> Survey:
    """Look at pictures without changing anything.

    Args:
        root: the project's folder.
        pictures: a folder, an archive, a parquet file, or a folder of IDX or parquet files.

    Raises:
        UsageError: if there are no pictures that can be read.
        DataError: if the source is damaged.
    """
    place = pictures.resolve()
    kind = kind_of(place)
    path = name_from(root.resolve(), place)
    opened = open_source(root, Source(source=kind, path=path))
    usable: list[Encoded | Decoded] = []
    for item in opened.items:
        if not isinstance(item, Rejected):
            usable.append(item)
    images = _Sample()
    with quiet_pillow():
        for item in _spread(usable):
            images.take(item)
    if not images.sides:
        raise UsageError(
            f"{pictures} holds no picture that can be read. Name a folder of PNG, JPEG, WebP, BMP, "
            "TIFF or GIF files, an archive of such, or parquet or IDX files."
        )
    classes = Counter(item.class_name for item in usable if item.class_name is not None)
    splits = Counter(str(item.split) for item in usable if item.split is not None)
    shorter = [min(sides) for sides in images.sides]
    return Survey(
        source=kind,
        path=path,
        pictures=len(usable),
        classes=dict(sorted(classes.items())),
        splits=dict(splits),
        looked_at=len(images.sides),
        unusable=images.unusable,
        shortest=min(shorter),
        typical=int(median(shorter)),
        longest=max(max(sides) for sides in images.sides),
        one_size=len(set(images.sides)) == 1 and len(set(images.sides[0])) == 1,
        grey=images.grey,
        warnings=opened.warnings,
    )


def kind_of(place: Path) -> Literal["folder", "archive", "idx", "parquet"]:
    """Which kind of source lies there.

    Raises:
        UsageError: if there is nothing that pictures can be read from.
    """
    if place.is_file():
        if place.name.lower().endswith(ARCHIVES):
            return "archive"
        if place.suffix == ".parquet":
            return "parquet"
        raise UsageError(f"{place} is neither a folder nor an archive nor a parquet file.")
    if not place.is_dir():
        raise UsageError(f"{place} does not exist. Name the folder that holds the pictures.")
    if next(place.rglob("*.parquet"), None) is not None:
        return "parquet"
    if next(place.glob("*-images-idx3-ubyte*"), None) is not None:
        return "idx"
    return "folder"


def name_from(root: Path, place: Path) -> str:
    """A path as params.yaml names it: from the project's folder if it lies there, else absolute."""
    if place.is_relative_to(root):
        return place.relative_to(root).as_posix()
    return place.as_posix()


def _spread(items: list[Encoded | Decoded]) -> Iterator[Encoded | Decoded]:
    """At most `SAMPLE` items, from the first to the last."""
    count = min(SAMPLE, len(items))
    for number in range(count):
        yield items[number * len(items) // count]


class _Sample:
    """Sides and colours of the pictures that were decoded."""

    def __init__(self) -> None:
        self.sides: list[tuple[int, int]] = []
        self.grey = True
        self.unusable = 0

    def take(self, item: Encoded | Decoded) -> None:
        """Look at one."""
        try:
            pixels_HWC = _pixels(item)
        except Unusable:
            self.unusable += 1
            return
        self.sides.append(pixels_HWC.shape[:2])
        self.grey = self.grey and _is_grey(pixels_HWC)


def _pixels(item: Encoded | Decoded) -> NDArray[np.uint8]:
    if isinstance(item, Decoded):
        return item.pixels_HWC
    return decode(item.read(), OwnSize(channels=3))


def _is_grey(pixels_HWC: NDArray[np.uint8]) -> bool:
    if pixels_HWC.shape[2] == 1:
        return True
    thumbnail = pixels_HWC[::4, ::4].astype(np.int16)
    spread_HW = thumbnail.max(axis=2) - thumbnail.min(axis=2)
    return bool(spread_HW.max() <= GREY_TOLERANCE)
