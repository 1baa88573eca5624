"""From the bytes of a picture file, or the pixels of a source, to the pixels that are stored."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from atelier.data.pictures import Unusable
from atelier.params import Dataset
from atelier.pictures import opaque

FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "BMP",
    "TIFF",
    "GIF",
)  # PIL has many more decoders; each is a way in for hostile files
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian; with "+": BigTIFF
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF8", *TIFF_SIGNATURES)
# Modes of PIL whose black and white are defined, and which have one or three colours.
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "I;16B", "I;16L", "I;16N"}
DRAFT = 2  # a JPEG is decoded to at least this many times the stored size


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's own limit and its notes on odd metadata out of the way; hold it around all threads that decode.

    Both are settings of the whole process, so that no thread can change them for itself.
    """
    Image.init()  # load all decoders before there are threads
    limit, logger = Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        logger.setLevel(logging.CRITICAL)
        Image.MAX_IMAGE_PIXELS = None  # `Dataset.max_pixels` takes its place
        try:
            yield
        finally:
            logger.setLevel(level)
            Image.MAX_IMAGE_PIXELS = limit


def starts_like_a_picture(content: bytes) -> bool:
    """Whether a file's first bytes are those of one of `FORMATS`."""
    return content.startswith(SIGNATURES)


def decode(content: bytes, dataset: Dataset) -> NDArray[np.uint8]:
    """Decode the first frame of a picture file, upright, to the size and channels that the dataset stores.

    Transparent pictures are laid on white, since the colours under transparent pixels are arbitrary. 16 bits become 8.
    What is too large, too small or of other channels is refused by its header, without decoding.

    Returns:
        pixels_HWC: uint8, `image_size` x `image_size` or of its own size, with `dataset.channels` channels.

    Raises:
        Unusable: for whatever the bytes may be.
    """
    if not content:
        raise Unusable("empty")
    try:  # a tag or chunk of a damaged file can raise nearly anything inside PIL, hence `except Exception`
        image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        _refuse_size(*image.size, dataset)
        _refuse_channels(image)
        if dataset.image_size is not None:  # a JPEG's decoder can halve it up to three times, at a fraction of the cost
            image.draft(image.mode, (DRAFT * dataset.image_size, DRAFT * dataset.image_size))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _stored(image, dataset)
    except Unusable:
        raise
    except Image.DecompressionBombError:  # Pillow's limit, where `quiet_pillow` is not held
        raise Unusable("too many pixels", "more than twice Image.MAX_IMAGE_PIXELS") from None
    except UnidentifiedImageError:
        raise _unidentified(content) from None
    except Exception:  # its text is left out: it differs between versions of Pillow
        raise Unusable("truncated or damaged") from None


def fit_pixels(pixels_HWC: NDArray[np.uint8], dataset: Dataset) -> NDArray[np.uint8]:
    """Bring the pixels of a source, grey or RGB, to the size and channels that the dataset stores.

    Returns:
        the very same array where nothing is to be done.

    Raises:
        Unusable: if it is too small or too large.
    """
    height, width, channels = pixels_HWC.shape
    _refuse_size(width, height, dataset)
    size = dataset.image_size
    if channels == dataset.channels and (size is None or (height, width) == (size, size)):
        return pixels_HWC
    return _stored(Image.fromarray(pixels_HWC[..., 0] if channels == 1 else pixels_HWC), dataset)


def _refuse_size(width: int, height: int, dataset: Dataset) -> None:
    if width * height > dataset.max_pixels:
        raise Unusable("too many pixels", f"{width} x {height}, at most {dataset.max_pixels:,} pixels are decoded")
    if min(width, height) < dataset.shortest_side:
        raise Unusable("too small", f"{width} x {height}, the short side needs {dataset.shortest_side} pixels")


def _refuse_channels(image: Image.Image) -> None:
    if image.mode not in MODES:
        raise Unusable("wrong channels", f"{image.mode}, neither grey nor RGB of 8 or 16 bits")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        samples = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
        if samples > 4 or (samples == 2 and image.mode not in ("LA", "PA")):  # PIL drops the further ones in silence
            raise Unusable("wrong channels", f"{samples} channels")
        # PIL reads these two, but neither scales the one nor inverts the other.
        bits, inverted = tags.get(TiffImagePlugin.BITSPERSAMPLE), tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
        if image.mode.startswith("I;16") and (bits != (16,) or inverted == 0):
            raise Unusable("wrong channels", "grey of 12 bits, or of 16 bits with 0 as white")


def _unidentified(content: bytes) -> Unusable:
    """Why no decoder takes the bytes: a TIFF may be sound and have channels of a kind that PIL does not know."""
    if content.startswith(TIFF_SIGNATURES):
        try:
            header = content[: 16 if b"+" in content[2:4] else 8]
            directory = TiffImagePlugin.ImageFileDirectory_v2(header)
            stream = io.BytesIO(content)
            stream.seek(directory.next)
            directory.load(stream)
            bits, samples = directory[TiffImagePlugin.BITSPERSAMPLE], directory.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
        except Exception:  # as in `decode`
            return Unusable("truncated or damaged")
        return Unusable("wrong channels", f"{samples} channels of {max(bits)} bits")
    if starts_like_a_picture(content):
        return Unusable("truncated or damaged")
    return Unusable("not a picture", f"none of {', '.join(FORMATS)}")


def _stored(image: Image.Image, dataset: Dataset) -> NDArray[np.uint8]:
    image = opaque(image, "L" if dataset.channels == 1 else "RGB")
    if dataset.image_size is not None:
        image = _square(image, dataset.image_size, dataset.fit)
    return np.asarray(image, np.uint8).reshape(image.height, image.width, dataset.channels)


def _square(image: Image.Image, side: int, fit: str) -> Image.Image:
    """A square by `Dataset.fit`, antialiased; a square of the right size is left as it is."""
    if fit == "stretch":
        return image.resize((side, side), Image.Resampling.LANCZOS)
    if fit == "pad":
        longest = max(image.size)
        width, height = (max(1, round(length * side / longest)) for length in image.size)
        canvas = Image.new(image.mode, (side, side), "white")
        small = image.resize((width, height), Image.Resampling.LANCZOS)
        canvas.paste(small, ((side - width) // 2, (side - height) // 2))
        return canvas
    centering = (0.5, 0.0 if fit == "top-crop" else 0.5)
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS, centering=centering)
