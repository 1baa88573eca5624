"""What a source hands over, one item a picture, and what becomes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from atelier.data.splits import Split

Reason = Literal[
    # By-catch, such as README.txt: no picture by its name's ending, nor by its first bytes.
    "other file",
    "not a picture",  # named like one, but of no format that is read
    "not a file",  # a link, a pipe, a folder where a file is expected; or it can't be read
    "unsafe path",  # of an archive's member: absolute, or with ".."
    "missing",  # named by a table of labels, but not there: no picture, but a row
    "empty",
    "too large",  # a file that is not even taken into memory
    "truncated or damaged",
    "too many pixels",  # a decompression bomb
    "too small",
    "wrong channels",  # neither grey nor RGB nor RGBA
    "exact duplicate",
    "near duplicate",
    "near duplicate across splits",
    "two labels",
]


@dataclass(frozen=True)
class Encoded:
    """A picture as the bytes of a file, still to be decoded."""

    name: str  # unique within the source: a path with slashes
    class_name: str | None  # None: no class
    split: Split | None  # the source's own split; None: it has none
    read: Callable[[], bytes]  # called once, in any thread; raises Unusable


@dataclass(frozen=True)
class Decoded:
    """A picture as pixels, in the size and channels that the source has."""

    name: str
    class_name: str | None
    split: Split | None
    pixels_HWC: NDArray[np.uint8]


@dataclass(frozen=True)
class Rejected:
    """One entry of the quarantine table."""

    name: str
    reason: Reason
    # What was found, for people; never the text of a library: it differs between versions.
    detail: str = ""


@dataclass(frozen=True)
class OpenedSource:
    """A source that is ready to be read."""

    # In the order of their numbers; empty: sorted by name, or no classes.
    class_names: tuple[str, ...]
    items: Iterator[Encoded | Decoded | Rejected]
    num_items: int | None  # None: not known before the end
    warnings: tuple[str, ...] = ()  # for people, about the source as a whole


ELSEWHERE = -1  # as position of a candidate: the stored version holds these pixels already


class Candidate(NamedTuple):
    """A picture that was read and could be stored: one row of a table, without its pixels."""

    name: str
    source: int  # position of its source in the dataset
    class_name: str  # empty: none
    split: str  # the source's own split; empty: it has none
    sha256: str  # content hash of the pixels as they would be stored
    height: int
    width: int
    channels: int
    position: int  # of its pixels in the spool, in bytes, or ELSEWHERE
    phash: int  # perceptual hash, 64 bits
    mean: float  # of all its values, in [0, 255]
    std: float


class Unusable(Exception):
    """Why a picture is rejected; becomes a row of the quarantine table."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def content_hash(pixels_HWC: NDArray[np.uint8]) -> str:
    """sha256 of the pixels and their shape: an image's identity, however its file is encoded."""
    height, width, channels = pixels_HWC.shape
    header = f"{height}x{width}x{channels}:".encode()
    return hashlib.sha256(header + pixels_HWC.tobytes()).hexdigest()
