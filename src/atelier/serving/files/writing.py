"""From a picture to the bytes of a file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from atelier.errors import UsageError
from atelier.serving.files.metadata import EXIF, GPS, bare, tiff_directory, tiff_texts
from atelier.serving.files.record import Picture, Pixels

JPEG_QUALITY = 95  # above it files grow and nobody sees why (Pillow's handbook, JPEG saving)
WEBP_QUALITY = 100  # lossless: effort, not loss
MOST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}  # by libjpeg, RFC 9649 and GIF89a
DEEP = ("PNG", "TIFF")  # that hold 16 bits
OPAQUE = ("JPEG", "BMP")  # that hold no transparency, or none that is read everywhere
SINGLE = ("JPEG", "BMP")  # that hold one picture
WITHOUT_PROFILE = ("GIF", "BMP")  # GIF's is an extension that Pillow doesn't write
LOSSY = ("JPEG", "WEBP")  # that have a quality
HEADER_BYTES = 33  # of a PNG: signature and IHDR, after which the other chunks may stand
METRES = 0.0254  # an inch


def fit_to_format(picture: Picture, file_format: str) -> Picture:
    """A picture as a format can hold it, with a note of what had to be left behind.

    Raises:
        UsageError: if it has more frames, or a longer side, than the format holds.
    """
    num_frames = len(picture.frames)
    if num_frames > 1 and file_format in SINGLE:
        raise UsageError(
            f"{num_frames} frames or pages don't fit into {file_format}, which holds one picture. "
            "Choose the format png, webp or tiff."
        )
    longest = max(max(pixels_HWC.shape[:2]) for pixels_HWC in picture.frames)
    most = MOST_SIDE.get(file_format, longest)
    if longest > most:
        raise UsageError(
            f"a side of {longest:,} pixels doesn't fit into {file_format}, which holds at most "
            f"{most:,}. Choose the format png or tiff."
        )
    sizes = {pixels_HWC.shape[:2] for pixels_HWC in picture.frames}
    if len(sizes) > 1 and file_format != "TIFF":
        raise UsageError(
            f"pages of {len(sizes)} sizes don't fit into {file_format}. Choose the format tiff."
        )
    notes = list(picture.notes)
    # Pillow writes what moves, with 8 bits.
    is_moving = file_format == "PNG" and num_frames > 1
    if picture.depth == 16 and (is_moving or file_format not in DEEP):
        notes.append(f"of 16 bits came out with 8, since {file_format} holds no more")
        frames = [_to_8_bits(pixels_HWC) for pixels_HWC in picture.frames]
        alpha = picture.alpha and [_to_8_bits(alpha_HW) for alpha_HW in picture.alpha]
        picture = replace(picture, frames=frames, alpha=alpha, depth=8)
    if picture.alpha is not None and file_format in OPAQUE:
        notes.append(f"with transparency came out on white, since {file_format} holds none")
        pairs = zip(picture.frames, picture.alpha, strict=True)
        picture = replace(picture, frames=[_on_white(*pair) for pair in pairs], alpha=None)
    if file_format == "GIF" and picture.frames[0].shape[2] == 3:
        notes.append("came out with at most 256 colours a frame, since GIF holds no more")
    if picture.icc is not None and file_format in WITHOUT_PROFILE:
        notes.append(f"with a colour profile lost it, since {file_format} holds none")
        picture = replace(picture, icc=None)
    if picture.gamma is not None and file_format != "PNG":
        notes.append(f"with a gamma of their own lost it, since {file_format} holds none")
        picture = replace(picture, gamma=None)
    return replace(picture, notes=tuple(notes))


def write_quickly(picture: Picture, file_format: str, quality: int | None = None) -> bytes:
    """As `write_picture`, for who waits: a PNG of one frame in a third of the time.

    Runs of equal differences alone are packed, which serves photographs as well; large plain
    drawings come out larger.
    """
    if file_format != "PNG" or len(picture.frames) > 1:
        return write_picture(picture, file_format, quality)
    return _encode_png(fit_to_format(picture, file_format), quality, quickly=True)


def write_picture(
    picture: Picture, file_format: str | None = None, quality: int | None = None
) -> bytes:
    """The bytes of a file.

    Args:
        picture: what to write.
        file_format: PNG, JPEG, TIFF, WEBP, GIF or BMP; None: its own.
        quality: 1 to 100, of JPEG (None: 95, without subsampling of colours) and of WebP (None:
            lossless); has no meaning for the others.

    Raises:
        UsageError: if the format can't hold the picture.
    """
    file_format = file_format or picture.file_format
    return ENCODERS[file_format](fit_to_format(picture, file_format), quality)


def _encode_png(picture: Picture, quality: int | None, quickly: bool = False) -> bytes:
    import imagecodecs

    if len(picture.frames) == 1:
        strategy = imagecodecs.PNG.STRATEGY.RLE
        options = {"level": 1, "strategy": strategy, "filter": imagecodecs.PNG.FILTER.UP}
        # Pillow would make 8 bits of 16.
        pixels = _with_alpha(picture, 0)
        content = bytes(imagecodecs.png_encode(pixels, **(options if quickly else {})))
    else:
        content = _save(picture, "PNG", **_animation(picture))
    chunks = b""
    if picture.gamma is not None:
        chunks += _chunk(b"gAMA", struct.pack(">I", round(picture.gamma * 100_000)))
    if picture.icc is not None:
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc))
    if picture.dpi is not None:
        a_metre = (round(dots / METRES) for dots in picture.dpi)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *a_metre, 1))
    if picture.exif is not None:
        chunks += _chunk(b"eXIf", bare(picture.exif))
    return content[:HEADER_BYTES] + chunks + content[HEADER_BYTES:]


def _encode_jpeg(picture: Picture, quality: int | None) -> bytes:
    return _save(
        picture,
        "JPEG",
        quality=quality or JPEG_QUALITY,
        subsampling="4:4:4",
        **_beside(picture, "icc", "exif", "dpi"),
    )


def _encode_webp(picture: Picture, quality: int | None) -> bytes:
    return _save(
        picture,
        "WEBP",
        lossless=quality is None,
        quality=quality or WEBP_QUALITY,
        exact=True,  # colours below what is transparent stay
        **_beside(picture, "icc", "exif"),
        **_animation(picture),
    )


def _encode_gif(picture: Picture, quality: int | None) -> bytes:
    return _save(picture, "GIF", **_animation(picture))


def _encode_bmp(picture: Picture, quality: int | None) -> bytes:
    return _save(picture, "BMP", **_beside(picture, "dpi"))


def _encode_tiff(picture: Picture, quality: int | None) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    extra_tags: list[tuple[Any, ...]] = []
    directories = []
    if picture.exif is not None:
        texts = tiff_texts(picture.exif).items()
        extra_tags = [(tag, "s", 0, text, True) for tag, text in texts]
        directories = [tag for tag in (EXIF, GPS) if tiff_directory(picture.exif, tag, 0)]
        # Tifffile writes no directories: room is made under the number before, which is free.
        extra_tags += [(tag - 1, "I", 1, 1, True) for tag in directories]
    with tifffile.TiffWriter(buffer, byteorder="<") as writer:
        for number, pixels_HWC in enumerate(picture.frames):
            writer.write(
                _with_alpha(picture, number),
                photometric="rgb" if pixels_HWC.shape[2] == 3 else "minisblack",
                planarconfig=None if picture.alpha is None and pixels_HWC.shape[2] == 1 else 1,
                extrasamples=None if picture.alpha is None else ["unassalpha"],
                compression="zlib",
                predictor=True,
                iccprofile=picture.icc,
                resolution=picture.dpi,
                resolutionunit=None if picture.dpi is None else "inch",
                metadata=None,
                software=False,
                extratags=extra_tags if number == 0 else None,
            )
    content = bytearray(buffer.getbuffer())
    for tag in directories:
        content += bytes(len(content) % 2)  # directories begin at even bytes (TIFF 6.0)
        _point_to(content, tag, len(content))
        content += tiff_directory(picture.exif or b"", tag, len(content))
    return bytes(content)


def _point_to(content: bytearray, tag: int, offset: int) -> None:
    """Make the entry that was left free in a TIFF's first directory that of another directory.

    Source: TIFF 6.0, section 2.
    """
    (start,) = struct.unpack_from("<I", content, 4)
    (num_entries,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * num_entries, 12):
        if struct.unpack_from("<H", content, entry) == (tag - 1,):
            struct.pack_into("<H", content, entry, tag)
            struct.pack_into("<I", content, entry + 8, offset)


ENCODERS: dict[str, Callable[[Picture, int | None], bytes]] = {
    "PNG": _encode_png,
    "JPEG": _encode_jpeg,
    "TIFF": _encode_tiff,
    "WEBP": _encode_webp,
    "GIF": _encode_gif,
    "BMP": _encode_bmp,
}


def _save(picture: Picture, file_format: str, **options: Any) -> bytes:
    """Through Pillow."""
    buffer = io.BytesIO()
    images = [
        Image.fromarray(_with_alpha(picture, number)) for number in range(len(picture.frames))
    ]
    if len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:]}
    images[0].save(buffer, file_format, **options)
    return buffer.getvalue()


def _beside(picture: Picture, *names: str) -> dict[str, Any]:
    """What stands beside the pixels, as Pillow's options, of what there is."""
    options = {"icc": "icc_profile", "exif": "exif", "dpi": "dpi"}
    values = {options[name]: getattr(picture, name) for name in names}
    return {option: value for option, value in values.items() if value is not None}


def _animation(picture: Picture) -> dict[str, Any]:
    """How an animation goes on, as Pillow's options."""
    options: dict[str, Any] = {}
    if picture.durations:
        options["duration"] = [round(duration) for duration in picture.durations]
        options["disposal"] = 2 if picture.alpha is not None else 0
    if picture.loop is not None:
        options["loop"] = picture.loop
    return options


def _with_alpha(picture: Picture, number: int) -> Pixels:
    """A frame as HW if it is grey, or HWC, with its transparency as the last channel."""
    pixels_HWC = picture.frames[number]
    if picture.alpha is not None:
        return np.dstack([pixels_HWC, picture.alpha[number]])
    return np.ascontiguousarray(pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)


def _to_8_bits(pixels: Pixels) -> Pixels:
    """Values of 16 bits rounded to 8, a block of rows at a time, for the sake of memory."""
    levels: Pixels = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), 256):
        rows = slice(top, top + 256)
        levels[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return levels


def _on_white(pixels_HWC: Pixels, alpha_HW: Pixels) -> Pixels:
    """Colours, of 8 bits, as they look on white."""
    colours_HWC: Pixels = np.empty_like(pixels_HWC)
    for top in range(0, len(pixels_HWC), 256):
        rows = slice(top, top + 256)
        share_HW1 = alpha_HW[rows, :, None] / np.float32(255)
        colours_HWC[rows] = np.rint(255 - share_HW1 * (255 - pixels_HWC[rows]))
    return colours_HWC


def _chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG (PNG 3, 5.3)."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
