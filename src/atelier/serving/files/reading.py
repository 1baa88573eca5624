"""From the bytes of a picture file to a picture, with all that its result is to keep.

An ingest makes 8 bits in sRGB on white of everything (`data.sources.decoding`); here depth, colour
space and transparency stay. Which formats are taken and what is refused is the same.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms

from atelier.data.sources import tiff
from atelier.data.sources.appearance import PNG_DEPTH_AT, own_gamma, split_alpha
from atelier.data.sources.decoding import (
    FORMATS,
    OwnSize,
    explain_damage,
    refuse_channels,
    refuse_size,
)
from atelier.data.sources.pictures import Unusable
from atelier.serving.files import deep_tiff
from atelier.serving.files.metadata import read_metadata, read_tiff_metadata, turn_upright
from atelier.serving.files.record import Picture, Pixels

MAX_PIXELS = OwnSize.max_pixels
CMYK_BY_PROFILE = "of CMYK came out as RGB (sRGB), by the embedded profile"
CMYK_BY_FORMULA = "of CMYK without a profile that can be used came out as RGB, by plain arithmetic"
PALETTE = "with a palette came out as RGB"
ONE_BIT = "of 1 bit came out as grey of 8 bits"
PREVIEW = "with a second picture inside, as a preview or a gain map, came out without it"


def read_picture(content: bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """A picture file with all its frames or pages, upright, in its own depth and colours.

    Args:
        content: of the file.
        max_pixels: of all frames together; a file that has more is refused by its header.

    Raises:
        Unusable: for whatever the bytes may be.
    """
    with explain_damage(content):
        if content.startswith(tiff.SIGNATURES):
            picture = _read_tiff(content, max_pixels)
        else:
            picture = _read_other(content, max_pixels)
    return picture


def _read_tiff(content: bytes, max_pixels: int) -> Picture:
    pages, has_copies = deep_tiff.list_pages(content)
    _refuse_sizes([page.size for page in pages], max_pixels)
    metadata = read_tiff_metadata(content)
    if pages[0].is_deep:
        picture = deep_tiff.read(content, pages)
    else:
        image = Image.open(io.BytesIO(content), formats=("TIFF",))
        picture = _read_frames(image, content, [page.number for page in pages])
    notes = picture.notes
    if has_copies:
        notes += (deep_tiff.COPIES,)
    return replace(picture, exif=metadata.exif, dpi=metadata.dpi, notes=notes)


def _read_other(content: bytes, max_pixels: int) -> Picture:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    _refuse_sizes([image.size], max_pixels)
    num_frames = _num_frames(image)
    _refuse_sizes([image.size] * num_frames, max_pixels)
    # A still for those who can't animate is no frame of an animated PNG.
    first = 1 if image.info.get("default_image") else 0
    is_deep = image.format == "PNG" and content[PNG_DEPTH_AT] == 16
    if is_deep and num_frames > 1:
        raise Unusable("wrong channels", "an animation of 16 bits a colour")
    metadata = read_metadata(image)
    if is_deep:
        picture = _read_deep_png(image, content)
    else:
        picture = _read_frames(image, content, range(first, num_frames))
    alpha = picture.alpha
    if alpha is not None:
        alpha = [turn_upright(alpha_HW, metadata.orientation) for alpha_HW in alpha]
    return replace(
        picture,
        frames=[turn_upright(pixels, metadata.orientation) for pixels in picture.frames],
        alpha=alpha,
        exif=metadata.exif,
        dpi=metadata.dpi,
    )


def _refuse_sizes(sizes: Sequence[tuple[int, int]], max_pixels: int) -> None:
    form = OwnSize(3, max_pixels=max_pixels)
    for width, height in sizes:
        refuse_size(width, height, form)
    num_pixels = sum(width * height for width, height in sizes)
    if num_pixels > max_pixels:
        limit = f"at most {max_pixels:,} pixels are decoded"
        raise Unusable("too many pixels", f"{num_pixels:,} in {len(sizes)} frames, {limit}")


def _num_frames(image: Image.Image) -> int:
    """How many frames an animation has; what else a camera puts into a JPEG is none."""
    return 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)


def _read_deep_png(image: Image.Image, content: bytes) -> Picture:
    """A PNG of 16 bits a colour, of which Pillow would keep 8."""
    import imagecodecs

    values_HWC = imagecodecs.png_decode(content).reshape(image.height, image.width, -1)
    channels = 3 if values_HWC.shape[2] >= 3 else 1
    alpha = None
    if values_HWC.shape[2] > channels:
        alpha = [np.ascontiguousarray(values_HWC[..., channels])]
    return Picture(
        [np.ascontiguousarray(values_HWC[..., :channels])],
        alpha,
        16,
        "PNG",
        icc=image.info.get("icc_profile"),
        gamma=own_gamma(image),
    )


def _read_frames(image: Image.Image, content: bytes, numbers: Sequence[int]) -> Picture:
    """Frames of 8 bits, through Pillow."""
    frames: list[Pixels] = []
    alpha: list[Pixels | None] = []
    durations = []
    notes: dict[str, None] = {}
    for number in numbers:
        if number:
            image.seek(number)
        image.load()
        note = _note_of(image)
        colours, opacity = _split(image, content)
        frames.append(np.asarray(colours).reshape(colours.height, colours.width, -1))
        alpha.append(None if opacity is None else np.asarray(opacity))
        durations.append(float(image.info.get("duration", 0)))
        if note is not None:
            notes[note] = None
    is_animation = len(frames) > 1 and image.format != "TIFF"
    is_cmyk = CMYK_BY_PROFILE in notes or CMYK_BY_FORMULA in notes
    return Picture(
        _equal_channels(frames) if is_animation else frames,
        deep_tiff.fill_alpha(frames, alpha),
        8,
        "JPEG" if image.format == "MPO" else str(image.format),
        icc=None if is_cmyk else image.info.get("icc_profile"),
        gamma=own_gamma(image),
        durations=tuple(durations) if is_animation else (),
        loop=image.info.get("loop") if is_animation else None,
        notes=tuple(notes),
    )


def _note_of(image: Image.Image) -> str | None:
    """What is done to a frame as it is read that people want to know."""
    if image.mode == "CMYK":
        has_profile = _cmyk_profile(image) is not None
        return CMYK_BY_PROFILE if has_profile else CMYK_BY_FORMULA
    if image.mode in ("P", "PA") and image.format != "GIF":
        return PALETTE
    if image.mode == "1":
        return ONE_BIT
    return PREVIEW if image.format == "MPO" else None


def _split(image: Image.Image, content: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Colours of a frame in mode L or RGB, and how opaque they are; None: all are."""
    if image.mode != "CMYK":
        refuse_channels(image)
        return split_alpha(image, content)
    profile = _cmyk_profile(image)
    if profile is None:
        return image.convert("RGB"), None
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(profile, srgb, "CMYK", "RGB")
    return transform.apply(image), None


def _cmyk_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded profile of a picture in CMYK, if it can be used."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    except (KeyError, TypeError, OSError, ImageCms.PyCMSError):
        return None
    return profile if profile.profile.xcolor_space.strip() == "CMYK" else None


def _equal_channels(frames: list[Pixels]) -> list[Pixels]:
    """Frames of an animation, all in colour if one is."""
    channels = max(pixels_HWC.shape[2] for pixels_HWC in frames)
    equal = []
    for pixels_HWC in frames:
        height, width, _ = pixels_HWC.shape
        equal.append(np.broadcast_to(pixels_HWC, (height, width, channels)))
    return equal
