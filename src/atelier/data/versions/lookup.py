"""Finding one picture by the first digits of its content hash, or by the name of its file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.data.images import Images, Shards
from atelier.data.manifest import NO_LABEL
from atelier.data.sources.names import escape
from atelier.data.store import local_table
from atelier.data.versions.history import NOW, Snapshot
from atelier.errors import UsageError

HASH = re.compile(r"[0-9a-f]{4,64}")
SHOWN = 10  # of the pictures that an ambiguous word may mean


@dataclass(frozen=True)
class Found:
    """A stored picture, or one in quarantine, which has a name and a reason alone."""

    dataset: str
    names: tuple[str, ...]  # of its files, on the machine that ingested them
    sha256: str | None = None
    split: str | None = None
    class_name: str | None = None
    height: int | None = None
    width: int | None = None
    channels: int | None = None
    source: int | None = None  # position in the dataset's parameters
    shard: str | None = None
    offset: int | None = None  # bytes
    mean: float | None = None  # of all its values, in [0, 255]
    std: float | None = None
    reason: str | None = None  # why it is in quarantine
    detail: str | None = None
    row: int = field(default=-1, repr=False)  # in the manifest

    def as_json(self) -> dict[str, Any]:
        """As plain JSON types, without what is not known."""
        values = {key: value for key, value in asdict(self).items() if key != "row"}
        # Format 1 had no mean: not a number, which doesn't equal itself.
        return {key: x for key, x in values.items() if x is not None and x == x}


def find(project_root: Path, snapshot: Snapshot, word: str) -> Found:
    """The picture that a word means.

    Args:
        project_root: the project's folder; its tables of names are used for every version.
        snapshot: where to look.
        word: the first digits of a content hash, at least 4; or a file's name, or the end of its
            path.

    Raises:
        UsageError: if there is none, or several.
        DataError: if the version is damaged or lost.
    """
    pictures: list[Found] = []
    for name in snapshot.names:
        pictures += _find(project_root, snapshot, name, word)
    if not pictures:
        raise UsageError(
            f"no picture {word!r} in {snapshot.revision}: neither the first digits (4 or more) of "
            "a content hash nor a file's name in names.csv or quarantine.csv of a dataset."
        )
    if len(pictures) > 1:
        raise _ambiguity_error(word, pictures)
    return pictures[0]


def _ambiguity_error(word: str, pictures: Sequence[Found]) -> UsageError:
    lines = [f"{word!r} may be one of {len(pictures)} pictures; give more of it:"]
    for picture in pictures[:SHOWN]:
        names = ", ".join(picture.names)
        line = f"  {picture.dataset}  {picture.sha256 or picture.reason}  {names}"
        lines.append(line.rstrip())
    if len(pictures) > SHOWN:
        lines.append(f"  and {len(pictures) - SHOWN} more")
    return UsageError("\n".join(lines))


def pixels(snapshot: Snapshot, picture: Found) -> NDArray[np.uint8]:
    """HWC pixels of a stored picture; only its shard is read, or fetched."""
    name = picture.dataset
    manifest = snapshot.manifest(name)
    params = snapshot.description(name)["params"]
    shards = Shards(lambda file: snapshot.locate(f"{name}/{file}"))
    return Images(manifest, shards, params["image_size"], params["channels"])[picture.row]


def _find(project_root: Path, snapshot: Snapshot, name: str, word: str) -> list[Found]:
    pictures = _find_stored_pictures(project_root, snapshot, name, word)
    if snapshot.revision == NOW:
        for file, reason, detail in local_table(project_root, name, "quarantine.csv"):
            if _is_named(file, word):
                pictures.append(Found(name, (file,), reason=reason, detail=detail))
    return pictures


def _find_stored_pictures(
    project_root: Path, snapshot: Snapshot, name: str, word: str
) -> list[Found]:
    manifest = snapshot.manifest(name)
    files: dict[str, list[str]] = defaultdict(list)
    wanted = set()
    for file, sha256 in local_table(project_root, name, "names.csv"):
        files[sha256].append(file)
        if _is_named(file, word):
            wanted.add(sha256)
    if HASH.fullmatch(word):
        wanted |= {sha256 for sha256 in manifest.sha256 if sha256.startswith(word)}
    class_names = snapshot.description(name)["class_names"]
    pictures = []
    for row, picture in enumerate(manifest.rows()):
        if picture.sha256 in wanted:
            class_name = None if picture.label == NO_LABEL else class_names[picture.label]
            values = {key: value for key, value in picture._asdict().items() if key != "label"}
            names = tuple(files[picture.sha256])
            pictures.append(Found(name, names, class_name=class_name, row=row, **values))
    return pictures


def _is_named(file: str, word: str) -> bool:
    """Whether a name in a table is meant, typed as it is shown or as the file is called."""
    return any(file == name or file.endswith(f"/{name}") for name in (word, escape(word)))
