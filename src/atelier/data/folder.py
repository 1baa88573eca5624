"""A folder of pictures as a source; `layout` says which file is what."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from atelier.data.decoding import starts_like_a_picture
from atelier.data.file_sums import file_sums
from atelier.data.labels import LabelTable, read_table
from atelier.data.layout import MAX_FILE_BYTES, Layout, arrange, is_hidden
from atelier.data.pictures import Encoded, OpenedSource, Rejected, Unusable
from atelier.errors import DataError
from atelier.params import Source


def open_source(project_root: Path, source: Source) -> OpenedSource:
    """Open a folder; files are read when `Encoded.read` is called.

    Raises:
        DataError: if the folder or its table of labels can't be found or read.
    """
    folder = project_root / str(source.path)
    layout, rejected = _look_into(folder, source)

    def items() -> Iterator[Encoded | Rejected]:
        for name, place in layout.places.items():
            if isinstance(place, Rejected):
                yield place
            else:
                yield Encoded(name, place.class_name, place.split, partial(_read, folder / name))
        yield from rejected

    return OpenedSource((), items(), len(layout.places) + len(rejected))


def source_digest(project_root: Path, source: Source) -> str:
    """sha256 over what each file holds and where it belongs; its name plays no part, nor does by-catch's content.

    Raises:
        DataError: as `open_source`.
    """
    folder = project_root / str(source.path)
    layout, rejected = _look_into(folder, source)
    read = [name for name, place in layout.places.items() if not isinstance(place, Rejected)]
    sums = file_sums(project_root, folder, read)
    lines = [json.dumps([item.reason]) for item in rejected]
    for name, place in layout.places.items():
        # An ending, because a file without one is by-catch unless its content says otherwise.
        held = [place.reason] if isinstance(place, Rejected) else [sums[name], *place, bool(PurePosixPath(name).suffix)]
        lines.append(json.dumps(held))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def file_names(folder: Path) -> list[str]:
    """Sorted paths, relative and with slashes, of all files in the folder; hidden files and folders are left out.

    Raises:
        DataError: if the folder, or one inside it, can't be found or listed.
    """
    return sorted(sum(_listed(folder), []))


def _look_into(folder: Path, source: Source) -> tuple[Layout, list[Rejected]]:
    """Every file's place, and what is rejected besides."""
    files, links = _listed(folder)
    layout = arrange(files, _table(folder, source))
    return layout, [Rejected(name, "not a file", "a link to a folder") for name in links] + layout.missing


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Files, and links to folders: those are not followed, for they may lead in a circle."""
    files, links = [], []
    try:
        for parent, subfolders, names in os.walk(folder, onerror=_raise):
            inside = Path(parent).relative_to(folder)
            subfolders[:] = [name for name in subfolders if not is_hidden(name)]
            links += [(inside / name).as_posix() for name in subfolders if (Path(parent) / name).is_symlink()]
            files += [(inside / name).as_posix() for name in names if not is_hidden(name)]
    except OSError as error:
        raise DataError(
            f"{error.filename} can't be listed: {error.strerror}. Name the folder of pictures, as seen from the "
            "project, in params.yaml: datasets.NAME.path."
        ) from None
    return sorted(files), sorted(links)


def _table(folder: Path, source: Source) -> LabelTable | None:
    if source.labels is None:
        return None
    path = folder / source.labels
    try:
        content = _read(path)
    except Unusable as error:
        raise DataError(
            f"{path} can't be read: {error}. Name the table of labels, as seen from {folder}, in params.yaml: "
            "datasets.NAME.labels."
        ) from None
    return read_table(content, PurePosixPath(source.labels).as_posix(), source.label_column, str(path))


def _read(path: Path) -> bytes:
    if not path.is_file():  # a pipe would block for ever; a broken link has no content
        raise Unusable("not a file")
    try:
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise Unusable("too large", f"{size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
        content = path.read_bytes()
    except OSError as error:
        raise Unusable("not a file", f"can't be read: {error.strerror}") from None
    if not path.suffix and not starts_like_a_picture(content):
        raise Unusable("other file", "neither its name nor its first bytes are a picture's")
    return content


def _raise(error: OSError) -> None:
    raise error
