"""TIFF: what Pillow can't read of it, or reads wrongly."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from atelier.data.sources.pictures import Unusable

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little, big endian; with "+": BigTIFF
ORIENTATION = 274
WHITE_IS_ZERO = 0
UNCOMPRESSED = 1
SEPARATE = 2  # of the planar configuration: one colour after the other
# By the extra samples: 1 says that colours are multiplied.
WITH_ALPHA = {(1,): "RGBa", (2,): "RGBA"}


def refuse_channels(image: TiffImageFile) -> None:
    """Refuse channels that Pillow drops, or whose black and white it confuses, in silence.

    Raises:
        Unusable: if it has such.
    """
    tags = image.tag_v2
    samples = tags.get(SAMPLESPERPIXEL, 1)
    planar = tags.get(PLANAR_CONFIGURATION) == SEPARATE
    if samples > 4:
        raise Unusable("wrong channels", f"{samples} channels")
    if samples == 2 and (planar or image.mode not in ("LA", "La", "PA")):
        raise Unusable("wrong channels", "2 channels")
    bits = tags.get(BITSPERSAMPLE)
    inverted = tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO
    if image.mode.startswith("I;16") and (bits != (16,) or inverted):
        raise Unusable("wrong channels", "grey of 12 bits, or of 16 bits with 0 as white")


def load(image: Image.Image, content: bytes) -> Image.Image:
    """A picture with its pixels; 16 bits a colour in planes of their own Pillow takes for 8."""
    if not isinstance(image, TiffImageFile) or not _is_deep_and_separate(image):
        image.load()
        return image
    strips = zip(image.tag_v2[STRIPOFFSETS], image.tag_v2[STRIPBYTECOUNTS], strict=True)
    planes = b"".join(content[start : start + size] for start, size in strips)
    byte_order = ">u2" if content.startswith(b"MM") else "<u2"
    # Not `image.size`, which is that of the picture upright.
    width = image.tag_v2[IMAGEWIDTH]
    height = image.tag_v2[IMAGELENGTH]
    values_CHW = np.frombuffer(planes, byte_order).reshape(-1, height, width)
    mode = WITH_ALPHA.get(image.tag_v2.get(EXTRASAMPLES, ()), "RGB")
    pixels_HWC = np.moveaxis((values_CHW[: len(mode)] / 257).round().astype(np.uint8), 0, -1)
    picture = Image.frombytes(mode, (width, height), pixels_HWC.tobytes())
    picture.getexif()[ORIENTATION] = image.tag_v2.get(ORIENTATION, 1)
    if "icc_profile" in image.info:
        picture.info["icc_profile"] = image.info["icc_profile"]
    return picture


def explain_refusal(content: bytes) -> Unusable:
    """Why Pillow does not take a TIFF: it may be sound, and have channels that it does not know."""
    num_header_bytes = 16 if b"+" in content[2:4] else 8  # "+": BigTIFF
    try:
        directory = ImageFileDirectory_v2(content[:num_header_bytes])
        stream = io.BytesIO(content)
        stream.seek(directory.next)
        directory.load(stream)
        bits = max(directory[BITSPERSAMPLE])
        samples = directory.get(SAMPLESPERPIXEL, 1)
    except Exception:  # a damaged tag can raise nearly anything
        return Unusable("truncated or damaged")
    return Unusable("wrong channels", f"{samples} channels of {bits} bits")


def _is_deep_and_separate(image: TiffImageFile) -> bool:
    tags = image.tag_v2
    separate = tags.get(PLANAR_CONFIGURATION) == SEPARATE
    uncompressed = tags.get(COMPRESSION) == UNCOMPRESSED
    return separate and uncompressed and max(tags.get(BITSPERSAMPLE, (8,))) == 16
