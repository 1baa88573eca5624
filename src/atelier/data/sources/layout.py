"""What the names of a source's files say: which are pictures, of which class and split.

Folders and archives share it.

- Hidden names are left out.
- If every picture lies in a top folder named like a split (train, validation, test), those are the
  source's own splits and the folders below are classes, as in Hugging Face's imagefolder
  (https://huggingface.co/docs/datasets/image_dataset). Otherwise the top folders are classes.
- A table of labels takes the place of the class folders.
- What is no picture (`signatures`) has no say.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from atelier.data.sources.labels import LabelTable, Matches, match_labels
from atelier.data.sources.names import escape, list_some
from atelier.data.sources.pictures import Rejected
from atelier.data.splits import Split

# 90 million pixels of 16-bit RGB, uncompressed, are 515 MiB; each is held in memory.
MAX_FILE_BYTES = 600 * 2**20

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class Place(NamedTuple):
    """Where a picture belongs, by its name."""

    class_name: str | None
    split: Split | None


@dataclass(frozen=True)
class Layout:
    """What is known of a source's files before any is read."""

    places: dict[str, Place | Rejected]  # every visible file but the table of labels
    missing: list[Rejected]  # rows of the table of labels without their picture
    warnings: list[str]  # for people


def is_hidden(name: str) -> bool:
    """Whether a path is not for people: a part of it starts with a dot or is `__MACOSX`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def arrange(
    names: Collection[str],
    refused: Mapping[str, Rejected],
    table: LabelTable | None = None,
    top: str = "",
) -> Layout:
    """Give every file its class and split.

    Args:
        names: visible paths with slashes, from the source's root.
        refused: those that are no pictures: they have no say.
        table: the classes, if a file names them.
        top: a folder with its slash, common to all pictures, that says nothing; or empty.

    Raises:
        DataError: if the table of labels fits none of the pictures.
    """
    paths = {name: name.removeprefix(top) for name in names if table is None or name != table.name}
    pictures = {name: path for name, path in paths.items() if name not in refused}
    outside = [path for path in pictures.values() if _first(path).lower() not in SPLIT_NAMES]
    has_splits = bool(pictures) and not outside
    matches = match_labels(table, paths, pictures, top) if table else Matches({}, [], [])
    places: dict[str, Place | Rejected] = {}
    unread: set[str] = set()  # classes that have pictures of formats that aren't read
    for name, path in paths.items():
        split = SPLIT_NAMES.get(_first(path).lower()) if has_splits else None
        folder = _first(path.partition("/")[2] if split else path)
        class_name = matches.classes.get(name) if table else (folder or None)
        if name in refused:
            places[name] = refused[name]
            if refused[name].reason == "not a picture" and isinstance(class_name, str):
                unread.add(plain(class_name))
        elif isinstance(class_name, Rejected):
            places[name] = class_name
        else:
            places[name] = Place(None if class_name is None else plain(class_name), split)
    used = {place.class_name for place in places.values() if isinstance(place, Place)}
    warnings = [
        *matches.warnings,
        *_lost_splits(pictures.values(), outside),
        *_unread_classes(unread - used),
    ]
    return Layout(places, matches.missing, warnings)


def common_top(pictures: Iterable[str]) -> str:
    """The one folder, with its slash, that all pictures lie in; empty if there is none.

    Nor is one that is named like a split.
    Archives are packed with such a folder, as `dataset-1.0/`.
    """
    tops = {_first(name) for name in pictures}
    top = tops.pop() if len(tops) == 1 else ""
    return f"{top}/" if top and top.lower() not in SPLIT_NAMES else ""


def plain(text: str) -> str:
    """A class name as it is stored: valid text, in Unicode NFC whether macOS or Linux wrote it."""
    return escape(unicodedata.normalize("NFC", text))


def _first(path: str) -> str:
    folder, slash, _ = path.partition("/")
    return folder if slash else ""


def _lost_splits(paths: Iterable[str], outside: Sequence[str]) -> list[str]:
    """A warning where folders named like splits are none.

    Published test pictures would be trained on.
    """
    folders: set[str] = set()
    for path in paths:
        folders.update(path.split("/")[:-1])
    splits = sorted(folder for folder in folders if folder.lower() in SPLIT_NAMES)
    if not outside or len({SPLIT_NAMES[folder.lower()] for folder in splits}) < 2:
        return []
    names = list_some(sorted(map(escape, outside)))
    return [
        f"folders called {' and '.join(splits)} are not taken for splits: {len(outside):,} "
        f"pictures do not lie in such a folder at the top: {names}"
    ]


def _unread_classes(classes: Collection[str]) -> list[str]:
    many = (
        f"{len(classes):,} classes hold only pictures of formats that are not read: "
        f"{list_some(sorted(classes), 20)}"
    )
    return [f"{many}. Convert them to PNG"] if classes else []
