"""What people see of a decoded picture: 8 bits, in sRGB, and what is transparent laid on white.

Pillow hands over numbers. What they mean stands beside them, in a profile, a gamma or a transparent
value, which its own conversions mostly leave aside.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

Tell = Callable[[str], None]  # is told what was done to a picture, in words that fit any of them

PNG_DEPTH_AT = 24  # the byte of a PNG that holds the bits of a sample (PNG 3, 11.2.1)
SRGB_GAMMA = 0.45455  # of a gAMA chunk: sRGB's own curve is meant, not a power (PNG 3, 11.3.2.4)
GAMMA_TOLERANCE = 0.005
# A profile that differs from sRGB by so few levels is one of the many editions of sRGB: then the
# numbers stay as they are, and every viewer agrees.
SAME_LEVELS = 2
PROBE = np.arange(0, 256, 51, dtype=np.uint8)  # levels whose colours are compared
PROFILES = 32  # whose transforms are kept; most collections have one or two


def appearance(image: Image.Image, content: bytes, mode: str, tell: Tell) -> Image.Image:
    """A picture as a viewer shows it.

    Args:
        image: loaded and upright, of a mode in `decoding.MODES`.
        content: the bytes of its file.
        mode: what to return, L or RGB; L is Pillow's luma (ITU-R BT.601).
        tell: is told if colours were converted.
    """
    gamma = own_gamma(image)
    if gamma is not None:
        tell("had a gamma of its own and was converted to sRGB")
    if image.mode.startswith("I;16"):
        colours, alpha = _from_16_bits(image, gamma)
    else:
        colours, alpha = split_alpha(image, content)
        if gamma is not None:
            colours = _from_gamma(colours, gamma)
    colours = _to_srgb(colours, image.info.get("icc_profile"), tell)
    if alpha is None:
        return colours.convert(mode)
    colours = colours.convert("RGB")
    colours.putalpha(alpha)
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(colours)
    return white.convert(mode)


def split_alpha(image: Image.Image, content: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Colours in mode L or RGB, and how opaque each pixel is; None where all are.

    Args:
        image: loaded, of 8 bits and a mode in `decoding.MODES`.
        content: the bytes of its file.
    """
    colours = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return image.convert(colours), None
    if image.format == "PNG" and image.mode in ("L", "RGB"):
        return image.convert(colours), _beside_key(image, content)
    # In La and RGBa, colours are multiplied by alpha: the conversion takes it out of them.
    straight = image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
    alpha = straight.getchannel("A")
    if image.format == "BMP" and alpha.getextrema() == (0, 0):
        return straight.convert(colours), None  # the fourth byte of old writers, without meaning
    return straight.convert(colours), alpha


def _beside_key(image: Image.Image, content: bytes) -> Image.Image:
    """Alpha of a PNG one value of which is transparent; Pillow compares values of other depths."""
    depth = content[PNG_DEPTH_AT]
    key = np.atleast_1d(image.info["transparency"])
    values = np.asarray(image, np.uint16).reshape(image.height, image.width, len(key))
    if depth < 8:
        key = key * (255 // (2**depth - 1))  # as Pillow stretched the values
    if depth == 16:
        values = values * 256 + _low_bytes(content).reshape(values.shape)
    opaque = (values != key).any(axis=-1)
    return Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8))


def _low_bytes(content: bytes) -> NDArray[np.uint8]:
    """The lower bytes of a PNG of 16 bits a colour, of which Pillow keeps the upper ones."""
    image = Image.open(io.BytesIO(content), formats=("PNG",))
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]  # the other byte order
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image)


def _from_16_bits(
    image: Image.Image, gamma: float | None
) -> tuple[Image.Image, Image.Image | None]:
    """Grey of 16 bits; PIL's own conversion clips at 255 and would turn the picture white."""
    values = np.asarray(image, np.uint16)
    levels = values / 257
    if gamma is not None:  # before rounding: 8 bits of linear light have few dark levels
        levels = 255 * _curve((values / 65535) ** (1 / gamma))
    grey = Image.fromarray(levels.round().astype(np.uint8))
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey, None
    return grey, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))


def own_gamma(image: Image.Image) -> float | None:
    """The exponent of a PNG's values; None where it is sRGB's, or something weightier tells."""
    gamma = image.info.get("gamma")
    if not gamma or image.info.keys() & {"srgb", "icc_profile"}:
        return None
    return None if abs(gamma - SRGB_GAMMA) < GAMMA_TOLERANCE else float(gamma)


def _from_gamma(colours: Image.Image, gamma: float) -> Image.Image:
    levels = 255 * _curve((np.arange(256) / 255) ** (1 / gamma))
    return colours.point(levels.round().astype(int).tolist() * len(colours.getbands()))


def _curve(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light in [0, 1] as sRGB encodes it (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _to_srgb(colours: Image.Image, profile: bytes | None, tell: Tell) -> Image.Image:
    """Colours of an embedded profile in sRGB.

    One that can't be used is left aside, as browsers do.
    """
    transform = _transform(profile, colours.mode) if profile else None
    if transform is None:
        return colours
    tell("had a colour profile and was converted to sRGB")
    if transform.input_mode == "L":  # exactly, at the price of a small picture
        levels = transform.apply(Image.fromarray(np.arange(256, dtype=np.uint8)[None]))
        return colours.point(list(levels.convert("L").tobytes()))
    return transform.apply(colours.convert("RGB")).convert(colours.mode)


@lru_cache(PROFILES)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None where colours are sRGB's already, or it isn't of any."""
    try:
        described = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = described.profile.xcolor_space.strip()
        if space != "RGB" and (space, mode) != ("GRAY", "L"):
            return None
        source = "L" if space == "GRAY" else "RGB"
        srgb = ImageCms.createProfile("sRGB")
        # Of grey its tables are coarse where linear light is dark; of colours exactness takes ten
        # times as long.
        flags = ImageCms.Flags.NOOPTIMIZE if source == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(described, srgb, source, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    levels = np.stack(np.meshgrid(PROBE, PROBE, PROBE), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(levels).convert(source)
    expected = np.asarray(probe.convert("RGB"), np.int16)
    difference = np.abs(np.asarray(transform.apply(probe), np.int16) - expected).max()
    return transform if difference > SAME_LEVELS else None
