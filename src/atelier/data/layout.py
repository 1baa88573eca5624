"""What the names of a source's files say: which are pictures, of which class and split. Folders and archives share it.

- Hidden names are left out.
- If every picture lies in a top folder named like a split (train, validation, test), those are the source's own splits
  and the folders below are classes, as in Hugging Face's imagefolder
  (https://huggingface.co/docs/datasets/image_dataset). Otherwise the top folders are classes.
- A table of labels takes the place of the class folders.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from atelier.data.labels import LabelTable, classes_of
from atelier.data.pictures import Rejected
from atelier.data.splits import Split

MAX_FILE_BYTES = 600 * 2**20  # 90 million pixels of 16-bit RGB, uncompressed, are 515 MiB; each is held in memory

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
PICTURE_ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .jif .webp .bmp .dib .tif .tiff .gif".split()
)  # fmt: skip
# Pictures all the same, so that a folder of them is not taken for a folder of by-catch.
UNREAD_PICTURE_ENDINGS = frozenset(
    ".heic .heif .avif .jxl .jp2 .j2k .jpx .psd .svg .eps .ai .ico .icns .ppm .pgm .pbm .pnm .tga .pcx .xcf .exr .hdr "
    ".dng .raw .cr2 .cr3 .nef .arw .orf .rw2 .raf .dcm .npy".split()
)  # fmt: skip


class Place(NamedTuple):
    """Where a picture belongs, by its name."""

    class_name: str | None
    split: Split | None


@dataclass(frozen=True)
class Layout:
    """What is known of a source's files before any is read."""

    places: dict[str, Place | Rejected]  # every visible file but the table of labels
    missing: list[Rejected]  # rows of the table of labels without their picture


def is_hidden(name: str) -> bool:
    """Whether a path is not for people: it, or a folder on the way, starts with a dot or is macOS' `__MACOSX`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def arrange(names: Collection[str], table: LabelTable | None = None, top: str = "") -> Layout:
    """Give every file its class and split.

    Args:
        names: visible paths with slashes, from the source's root.
        table: the classes, if a file names them.
        top: a folder with its slash, common to all names, that says nothing; or empty.
    """
    paths = {name: name.removeprefix(top) for name in names if table is None or name != table.name}
    refused = {name: refusal for name in paths if (refusal := _refusal(name))}
    pictures = [name for name in paths if name not in refused]
    # A file without an ending may be a picture or a LICENSE; it has a say only where no file has an ending.
    named = [paths[name] for name in pictures if PurePosixPath(name).suffix] or [paths[name] for name in pictures]
    has_splits = bool(named) and all(_first(path).lower() in SPLIT_NAMES for path in named)
    tabled, missing = classes_of(table, paths, top) if table else ({}, [])
    places: dict[str, Place | Rejected] = {}
    for name, path in paths.items():
        split = SPLIT_NAMES.get(_first(path).lower()) if has_splits else None
        folder = _first(path.partition("/")[2] if split else path)
        found = tabled.get(name) if table else (folder or None)
        if name in refused:
            places[name] = refused[name]
        elif isinstance(found, Rejected):
            places[name] = found
        else:
            places[name] = Place(None if found is None else plain(found), split)
    return Layout(places, missing)


def common_top(names: Iterable[str]) -> str:
    """The one folder, with its slash, that all files lie in, unless it is named like a split; or empty.

    Archives are packed with such a folder, as `dataset-1.0/`.
    """
    tops = {_first(name) for name in names}
    top = tops.pop() if len(tops) == 1 else ""
    return f"{top}/" if top and top.lower() not in SPLIT_NAMES else ""


def plain(text: str) -> str:
    """A class name as it is stored: valid text, and the same whether macOS or Linux wrote it (Unicode NFC)."""
    return unicodedata.normalize("NFC", text.encode("utf-8", "backslashreplace").decode())


def _first(path: str) -> str:
    folder, slash, _ = path.partition("/")
    return folder if slash else ""


def _refusal(name: str) -> Rejected | None:
    ending = PurePosixPath(name).suffix.lower()
    if not ending or ending in PICTURE_ENDINGS:
        return None
    if ending in UNREAD_PICTURE_ENDINGS:
        return Rejected(name, "not a picture", f"{ending} is not among the formats that are read; convert it to PNG")
    return Rejected(name, "other file", f"{ending} is no picture's ending")
