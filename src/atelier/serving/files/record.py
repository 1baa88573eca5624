"""A picture file in memory: its pixels, and what stands beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[Any]  # uint8 or uint16, of which numpy's types know no either


@dataclass(frozen=True)
class Picture:
    """The frames of an animation, the pages of a TIFF, or one picture; upright.

    Numbers are in the colour space of `icc` and `gamma`: nothing but CMYK is converted.
    """

    frames: list[Pixels]  # colours, HWC, of 1 or 3 channels
    alpha: list[Pixels] | None  # of each frame, HW, in the type of the colours; None: all opaque
    depth: int  # bits of a value: 8 or 16
    file_format: str  # PNG, JPEG, TIFF, WEBP, GIF or BMP
    icc: bytes | None = None  # colour profile
    exif: bytes | None = None  # as in a JPEG, with its `Exif` header; without an orientation
    dpi: tuple[float, float] | None = None  # across and down
    gamma: float | None = None  # exponent of a PNG's values that has no profile; None: of sRGB
    durations: tuple[float, ...] = ()  # of an animation's frames, in milliseconds
    loop: int | None = None  # how often an animation is shown; 0: for ever, None: not said
    # What was done to it that people want to know, in words that follow "a picture" or "pictures".
    notes: tuple[str, ...] = ()

    @property
    def white(self) -> int:
        """The largest value."""
        return int(2**self.depth - 1)
