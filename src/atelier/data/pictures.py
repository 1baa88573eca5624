"""What a source hands over: pictures that can be stored, and what was rejected and why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """One decoded picture in the size and channels in which it is stored."""

    name: str  # unique within the source
    pixels_HWC: NDArray[np.uint8]
    label: int | None  # position in the source's class_names; None: no class
    is_test: bool | None  # the source's own split; None: it has none, so the content hash decides


@dataclass(frozen=True)
class Rejected:
    """One entry of the quarantine table."""

    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """An opened source; `items` come in the order of their names and are decoded one at a time."""

    class_names: tuple[str, ...]  # empty: no classes
    items: Iterator[Picture | Rejected]


def content_hash(pixels_HWC: NDArray[np.uint8]) -> str:
    """sha256 of the pixels and their shape: the identity of an image, whatever its file was called or encoded as."""
    height, width, channels = pixels_HWC.shape
    header = f"{height}x{width}x{channels}:".encode()
    return hashlib.sha256(header + pixels_HWC.tobytes()).hexdigest()
