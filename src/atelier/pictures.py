"""Images as files and grids for people to look at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atelier.errors import UsageError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def to_pixels(x_NCHW: Floats) -> Pixels:
    """Float images in [0, 1] -> uint8 NHWC, rounded to nearest."""
    return np.moveaxis((x_NCHW.clip(0, 1) * 255).round().astype(np.uint8), 1, -1)


def grid(x_NCHW: Floats, columns: int, margin: int = 2, scale: int = 2) -> Pixels:
    """One picture of all images, row by row, on white.

    Args:
        x_NCHW: float32 in [0, 1].
        columns: images in a row.
        margin: white pixels between images.
        scale: each pixel becomes a square of this side.

    Returns:
        uint8 HWC.
    """
    pixels_NHWC = to_pixels(x_NCHW).repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, channels = pixels_NHWC.shape
    rows = -(-count // columns)
    canvas = np.full(
        (rows * (height + margin) + margin, columns * (width + margin) + margin, channels),
        255,
        np.uint8,
    )
    for index, picture in enumerate(pixels_NHWC):
        top = margin + index // columns * (height + margin)
        left = margin + index % columns * (width + margin)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def encode_picture(pixels_HWC: Pixels, path: Path) -> bytes:
    """A picture in the format of a file's name.

    Raises:
        UsageError: if the name's ending is no picture format.
    """
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in Image.SAVE:
        ending = path.suffix or "no ending"
        raise UsageError(f"{path}: {ending} is no picture format. Use .png or .jpg.")
    content = io.BytesIO()
    image.save(content, file_format)
    return content.getvalue()
