"""Images as files and grids for people to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

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
    canvas = np.full((rows * (height + margin) + margin, columns * (width + margin) + margin, channels), 255, np.uint8)
    for index, picture in enumerate(pixels_NHWC):
        top = margin + index // columns * (height + margin)
        left = margin + index % columns * (width + margin)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def save_picture(path: Path, pixels_HWC: Pixels) -> None:
    """Write a picture in the format of its file name.

    Raises:
        UsageError: if the folder can't be written or the name's ending is no picture format.
    """
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except ValueError:
        raise UsageError(f"{path}: {path.suffix or 'no ending'} is no picture format. Use .png or .jpg.") from None
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}.") from None


def load_picture(path: Path, channels: int) -> Floats:
    """A picture file as float32 1CHW in [0, 1], turned upright and converted to grey (1) or RGB (3), on white.

    Raises:
        UsageError: if it isn't there or isn't a picture.
    """
    try:
        with Image.open(path) as image:
            upright = opaque(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")
    except UnidentifiedImageError:
        raise UsageError(f"{path} is not a picture that can be read (PNG, JPEG, WebP, BMP, TIFF, GIF).") from None
    except (OSError, Image.DecompressionBombError, SyntaxError) as error:
        raise UsageError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from None
    except ValueError as error:
        raise UsageError(f"{path} can't be used: {error}.") from None
    pixels_HWC = np.asarray(upright, dtype=np.float32).reshape(upright.height, upright.width, channels)
    return np.moveaxis(pixels_HWC / np.float32(255), -1, 0)[None]


def opaque(image: Image.Image, mode: str) -> Image.Image:
    """A picture in mode L or RGB; transparent ones are laid on white, for the colours under them are arbitrary.

    Raises:
        ValueError: if its pixels are floats or 32-bit integers.
    """
    if image.mode in ("F", "I"):
        raise ValueError(f"pixels of mode {image.mode!r} have no defined white")
    if image.mode.startswith("I;16"):  # PIL's own conversion clips at 255 and would turn the picture white
        image = Image.fromarray((np.asarray(image, np.uint16) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert(mode)
