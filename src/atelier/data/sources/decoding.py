"""From the bytes of a picture file, or the pixels of a source, to the pixels that are stored."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from atelier.data.sources import tiff
from atelier.data.sources.appearance import Tell, appearance
from atelier.data.sources.pictures import Unusable
from atelier.data.sources.signatures import STARTS
from atelier.params import Dataset

# PIL has many more decoders; each is a way in for hostile files.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
# Modes of PIL whose black and white are defined, and which have one or three colours.
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"}
MODES |= {"I;16", "I;16B", "I;16L", "I;16N"}
DRAFT = 2  # a JPEG is decoded to at least this many times the stored size


@dataclass(frozen=True)
class OwnSize:
    """Pictures as large as they are."""

    channels: int
    image_size: int | None = None
    fit: str = "center-crop"
    max_pixels: int = 90_000_000  # as of a dataset that says nothing else
    shortest_side: int = 1


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's own limit and its notes on odd metadata out of the way.

    To be held around all threads that decode.
    Both are settings of the whole process, so that no thread can change them for itself.
    """
    Image.init()  # load all decoders before there are threads
    limit = Image.MAX_IMAGE_PIXELS
    logger = logging.getLogger("PIL")
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


def decode(
    content: bytes, form: Dataset | OwnSize, tell: Tell = lambda done: None
) -> NDArray[np.uint8]:
    """Decode the first frame of a picture file, upright, in the size and channels asked for.

    All that reads picture files reads them here, so that what one command takes, all take alike: in
    sRGB, and what is transparent on white, since the colours under it are arbitrary.
    16 bits become 8.
    What is too large, too small or of other channels is refused by its header, without decoding.

    Args:
        content: of the file.
        form: what is asked for; a dataset is one.
        tell: is told what was done to a picture that people may want to know.

    Returns:
        pixels_HWC: uint8, `image_size` x `image_size` or of its own size, with `form.channels`
        channels.

    Raises:
        Unusable: for whatever the bytes may be.
    """
    mode = _mode(form)
    with explain_damage(content):
        image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        refuse_size(*image.size, form)
        refuse_channels(image)
        if _has_more_frames(image):
            tell("holds several frames or pages, of which the first was read")
        # A JPEG's decoder can halve it up to three times, at a fraction of the cost.
        if form.image_size is not None:
            image.draft(image.mode, (DRAFT * form.image_size, DRAFT * form.image_size))
        image = tiff.load(image, content)
        ImageOps.exif_transpose(image, in_place=True)
        return _pixels_of(appearance(image, content, mode, tell), form)


@contextmanager
def explain_damage(content: bytes) -> Iterator[None]:
    """Whatever a decoder raises within becomes a reason why a picture file is refused.

    Args:
        content: of the file that is decoded within.

    Raises:
        Unusable: in place of any other error.
    """
    if not content:
        raise Unusable("empty")
    # A tag or chunk of a damaged file can raise nearly anything inside PIL: `except Exception`.
    try:
        yield
    except Unusable:
        raise
    except MemoryError:
        raise Unusable("too many pixels", "more than this machine's memory holds") from None
    except Image.DecompressionBombError:  # Pillow's limit, where `quiet_pillow` is not held
        raise Unusable("too many pixels", "more than twice Image.MAX_IMAGE_PIXELS") from None
    except UnidentifiedImageError:
        raise _explain_refusal(content) from None
    except Exception:  # its text is left out: it differs between versions of Pillow
        raise Unusable("truncated or damaged") from None


def fit_pixels(pixels_HWC: NDArray[np.uint8], form: Dataset | OwnSize) -> NDArray[np.uint8]:
    """Bring the pixels of a source, grey or RGB, to the size and channels that is asked for.

    Returns:
        the very same array where nothing is to be done.

    Raises:
        Unusable: if it is too small or too large.
    """
    height, width, channels = pixels_HWC.shape
    refuse_size(width, height, form)
    size = form.image_size
    if channels == form.channels and (size is None or (height, width) == (size, size)):
        return pixels_HWC
    image = Image.fromarray(pixels_HWC[..., 0] if channels == 1 else pixels_HWC)
    return _pixels_of(image.convert(_mode(form)), form)


def _mode(form: Dataset | OwnSize) -> str:
    """Pillow's mode of a form's channels."""
    return "L" if form.channels == 1 else "RGB"


def refuse_size(width: int, height: int, form: Dataset | OwnSize) -> None:
    """Refuse a size that is too large to be decoded, or too small to be of use.

    Raises:
        Unusable: if it is.
    """
    size = f"{width} x {height}"
    if width * height > form.max_pixels:
        limit = f"at most {form.max_pixels:,} pixels are decoded"
        raise Unusable("too many pixels", f"{size}, {limit}")
    if min(width, height) < form.shortest_side:
        limit = f"the short side needs {form.shortest_side} pixels"
        raise Unusable("too small", f"{size}, {limit}")


def refuse_channels(image: Image.Image) -> None:
    """Refuse channels whose meaning is not known.

    Raises:
        Unusable: if it has such.
    """
    if image.mode not in MODES:
        raise Unusable("wrong channels", f"{image.mode}, neither grey nor RGB of 8 or 16 bits")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tiff.refuse_channels(image)


def _has_more_frames(image: Image.Image) -> bool:
    """Whether a file holds more pictures than the first; a camera's preview in a JPEG is none."""
    try:
        return image.format not in ("JPEG", "MPO") and getattr(image, "is_animated", False)
    except Exception:  # the next frame is damaged; nobody asked for it
        return False


def _explain_refusal(content: bytes) -> Unusable:
    """Why no decoder takes the bytes."""
    if content.startswith(tiff.SIGNATURES):
        return tiff.explain_refusal(content)
    if content.startswith((b"BM", b"RIFF", *STARTS)):  # as far as the first bytes of a cut file go
        return Unusable("truncated or damaged")
    return Unusable("not a picture", f"none of {', '.join(FORMATS)}")


def _pixels_of(image: Image.Image, form: Dataset | OwnSize) -> NDArray[np.uint8]:
    if form.image_size is not None:
        image = _square(image, form.image_size, form.fit)
    return np.asarray(image, np.uint8).reshape(image.height, image.width, form.channels)


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
    top = 0.0 if fit == "top-crop" else 0.5
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS, centering=(0.5, top))
