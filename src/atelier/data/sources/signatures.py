"""Which files are pictures: by the ending of their name, or else by their first bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from atelier.data.sources.pictures import Rejected

PICTURE_ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .jif .webp .bmp .dib .tif .tiff .gif".split()
)
# Pictures all the same, so that a folder of them is not taken for a folder of by-catch. The raw
# ones start like a TIFF, which holds a thumbnail.
UNREAD_PICTURE_ENDINGS = frozenset(
    ".heic .heif .avif .jxl .jp2 .j2k .jpx .psd .svg .eps .ai .ico .icns .ppm .pgm .pbm .pnm .tga "
    ".pcx .xcf .exr .hdr .dng .raw .cr2 .cr3 .nef .nrw .arw .sr2 .srf .srw .orf .rw2 .rwl .raf "
    ".pef .3fr .fff .iiq .mos .erf .kdc .dcr .mef .x3f .dcm .npy".split()
)

NUM_BYTES = 32  # of a file, enough for all of these

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # and BigTIFF; little and big endian
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", *TIFF_STARTS)
BITMAP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes; "BM" alone starts many a text
# JPEG XL, JPEG 2000, Photoshop, OpenEXR, GIMP
UNREAD_STARTS = (b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ", b"8BPS", b"v/1\x01", b"gimp xcf")
# ISO/IEC 23008-12; videos have other brands in the same place
HEIF_BRANDS = (
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"hevc",
    b"hevx",
    b"mif1",
    b"msf1",
    b"avif",
    b"avis",
    b"crx ",
)


def is_told_by_name(name: str) -> bool:
    """Whether the ending of a file's name tells what it is."""
    return _ending(name) in PICTURE_ENDINGS or _ending(name) in UNREAD_PICTURE_ENDINGS


def refusals(names: Iterable[str], start: Callable[[str], bytes | None]) -> dict[str, Rejected]:
    """The files that are no pictures, or none that can be read, and why.

    Args:
        names: of files.
        start: a file's first bytes; None: it can't be read. Only asked where the name does not
            tell.
    """
    answers = {name: _refusal(name, start) for name in names}
    return {name: refusal for name, refusal in answers.items() if refusal is not None}


def _refusal(name: str, start: Callable[[str], bytes | None]) -> Rejected | None:
    ending = _ending(name)
    if ending in PICTURE_ENDINGS:
        return None
    if ending in UNREAD_PICTURE_ENDINGS:
        return Rejected(
            name,
            "not a picture",
            f"{ending} is not among the formats that are read; convert it to PNG",
        )
    first_bytes = start(name)
    if first_bytes is None:
        return Rejected(name, "not a file", "can't be read")
    if starts_like_a_picture(first_bytes):
        return None
    if _is_unread_picture(first_bytes):
        return Rejected(
            name, "not a picture", "its format is not among those that are read; convert it to PNG"
        )
    return Rejected(name, "other file", "neither its name nor its first bytes are a picture's")


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def starts_like_a_picture(start: bytes) -> bool:
    """Whether a file's first bytes are those of a format that is read."""
    if start.startswith(b"BM"):
        return int.from_bytes(start[14:18], "little") in BITMAP_HEADERS
    if start.startswith(b"RIFF"):
        return start[8:12] == b"WEBP"
    return start.startswith(STARTS)


def _is_unread_picture(start: bytes) -> bool:
    """Whether they are those of a picture of another format."""
    is_heif = start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS
    return is_heif or start.startswith(UNREAD_STARTS)
