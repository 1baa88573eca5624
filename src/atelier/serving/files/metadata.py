"""What stands beside the pixels: the camera's data, resolution and orientation."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from atelier.data.sources import tiff
from atelier.serving.files.record import Pixels

# Numbers of tags (Exif 3.0, 4.6.4).
ORIENTATION = tiff.ORIENTATION
X_RESOLUTION = 282
Y_RESOLUTION = 283
RESOLUTION_UNIT = 296
CENTIMETRES = 3  # of the unit; 2: inches, 1: none
EXIF = 34665
GPS = 34853
INTEROP = 40965  # by its place in the file, within the Exif directory
# Of a TIFF's own directory: description, make, model, software, date, artist, computer, copyright.
# The others describe its pixels.
TEXTS = (270, 271, 272, 305, 306, 315, 316, 33432)
HEADER = re.compile(rb"^(Exif\0\0)+")


@dataclass(frozen=True)
class Metadata:
    """Of a picture file."""

    exif: bytes | None = None  # with the header `Exif`; without an orientation
    dpi: tuple[float, float] | None = None
    orientation: int = 1  # as stored, 1 to 8; 1: upright


def read_metadata(image: Image.Image) -> Metadata:
    """Metadata of any picture but a TIFF, opened by Pillow."""
    dpi = image.info.get("dpi")
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
        exif = _without(image.info.get("exif"), ORIENTATION)
    except Exception:  # damaged tags can raise nearly anything, and are no reason to refuse pixels
        return Metadata(dpi=_usable(dpi))
    return Metadata(exif, _usable(dpi), orientation)


def read_tiff_metadata(content: bytes) -> Metadata:
    """Metadata of a TIFF's first page."""
    try:
        given = Image.Exif()
        given.load_from_fp(io.BytesIO(content))
        kept = Image.Exif()
        for tag in TEXTS:
            if tag in given:
                kept[tag] = given[tag]
        for tag in (EXIF, GPS):
            directory = {key: value for key, value in given.get_ifd(tag).items() if key != INTEROP}
            if directory:
                kept[tag] = directory
        exif = kept.tobytes() if len(kept) else None
        orientation = given.get(ORIENTATION, 1)
    except Exception:  # as above
        return Metadata()
    return Metadata(exif, _tiff_dpi(given), orientation)


def without_gps(exif: bytes | None) -> bytes | None:
    """The camera's data without the place."""
    return _without(exif, GPS)


def bare(exif: bytes) -> bytes:
    """The camera's data without the header that a JPEG gives them."""
    return HEADER.sub(b"", exif)


def tiff_texts(exif: bytes) -> dict[int, bytes]:
    """The texts that a TIFF has in its own directory, by their tags, ended by a zero."""
    given = _parse(exif)
    texts = {tag: given[tag] for tag in TEXTS if isinstance(given.get(tag), str)}
    return {tag: text.encode("utf-8", "replace") + b"\0" for tag, text in texts.items()}


def tiff_directory(exif: bytes, tag: int, offset: int) -> bytes:
    """The directory EXIF or GPS, as it stands in a TIFF of little endian; empty if there is none.

    Args:
        exif: the camera's data.
        tag: which one.
        offset: from the file's beginning, where it will stand.
    """
    entries = {key: value for key, value in _parse(exif).get_ifd(tag).items() if key != INTEROP}
    if not entries:
        return b""
    directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0", group=tag)
    for key, value in entries.items():
        directory[key] = value
    return directory.tobytes(offset)


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels, HW or HWC, as they are looked at (Exif 3.0, 4.6.5.1.6)."""
    views = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }
    return np.ascontiguousarray(views.get(orientation, pixels))


def _parse(exif: bytes) -> Image.Exif:
    given = Image.Exif()
    given.load(exif)
    return given


def _without(exif: bytes | None, tag: int) -> bytes | None:
    """The camera's data without a tag, nor the preview, which shows the picture as it was."""
    if not exif:
        return None
    given = _parse(exif)
    if tag in given:
        del given[tag]
    return given.tobytes() if len(given) else None


def _tiff_dpi(given: Image.Exif) -> tuple[float, float] | None:
    unit = given.get(RESOLUTION_UNIT, 2)
    dpi = (given.get(X_RESOLUTION), given.get(Y_RESOLUTION))
    if unit == 1 or None in dpi:
        return None
    factor = 2.54 if unit == CENTIMETRES else 1.0
    return _usable([factor * float(value) for value in dpi if value is not None])


def _usable(dpi: Any) -> tuple[float, float] | None:
    """Resolution that can be written: positive, finite, and two of it."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None
