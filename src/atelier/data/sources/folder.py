"""A folder of pictures as a source; `layout` says which file is what."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

from atelier.data.sources.file_sums import file_sums
from atelier.data.sources.labels import LabelTable, read_table
from atelier.data.sources.layout import MAX_FILE_BYTES, Layout, arrange, is_hidden
from atelier.data.sources.names import escape, list_some
from atelier.data.sources.pictures import Encoded, OpenedSource, Rejected, Unusable
from atelier.data.sources.signatures import NUM_BYTES, refusals
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

    return OpenedSource((), items(), len(layout.places) + len(rejected), tuple(layout.warnings))


def source_digest(project_root: Path, source: Source) -> str:
    """sha256 over what each file holds and where it belongs.

    Its name plays no part, nor does by-catch's content.

    Raises:
        DataError: as `open_source`.
    """
    folder = project_root / str(source.path)
    layout, rejected = _look_into(folder, source)
    read = [name for name, place in layout.places.items() if not isinstance(place, Rejected)]
    sums = file_sums(project_root, folder, read)
    lines = [json.dumps([refusal.reason]) for refusal in rejected]
    for name, place in layout.places.items():
        if isinstance(place, Rejected):
            lines.append(json.dumps([place.reason]))
            continue
        # It no longer matters; it stays because stored versions were made with it.
        has_ending = bool(PurePosixPath(name).suffix)
        lines.append(json.dumps([sums[name], *place, has_ending]))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def file_names(folder: Path) -> list[str]:
    """Sorted paths, relative and with slashes, of all files in the folder.

    Hidden files and folders are left out.

    Raises:
        DataError: if the folder, or one inside it, can't be found or listed.
    """
    files, links = _list_tree(folder)
    return sorted([*files, *links])


def _look_into(folder: Path, source: Source) -> tuple[Layout, list[Rejected]]:
    """Every file's place, and what is rejected besides."""
    files, links = _list_tree(folder)
    refused = refusals(files, lambda name: _start(folder / name))
    layout = arrange(files, refused, _table(folder, source))
    rejected = list(chain.from_iterable(_reject_link(folder, name) for name in links))
    if links:
        shown_links = list_some([escape(name) for name in links])
        layout.warnings.append(
            f"{len(links):,} links to folders are not followed: {shown_links}. Copy what they show"
        )
    unread = [escape(name) for name, refusal in refused.items() if refusal.reason == "not a file"]
    if unread:
        layout.warnings.append(
            f"{len(unread):,} files, links or pipes can't be read: {list_some(unread)}"
        )
    return layout, rejected + layout.missing


def _list_tree(folder: Path) -> tuple[list[str], list[str]]:
    """Files, and links to folders: those are not followed, for they may lead in a circle."""
    files = []
    links = []
    try:
        for parent, subfolders, names in os.walk(folder, onerror=_raise):
            inside = Path(parent).relative_to(folder)
            subfolders[:] = [name for name in subfolders if not is_hidden(name)]
            linked = [name for name in subfolders if (Path(parent) / name).is_symlink()]
            links += [(inside / name).as_posix() for name in linked]
            files += [(inside / name).as_posix() for name in names if not is_hidden(name)]
    except OSError as error:
        raise DataError(
            f"{escape(error.filename)} can't be listed: {error.strerror}. Name the folder of "
            "pictures, as seen from the project, in params.yaml: datasets.NAME.path."
        ) from None
    return sorted(files), sorted(links)


def _reject_link(folder: Path, link: str) -> list[Rejected]:
    """What a link to a folder keeps out: its pictures, or the link itself if there are none."""
    target = (folder / link).resolve()
    root = folder.resolve()
    # Its pictures are in the source anyway.
    if target in (root, *root.parents) or root in target.parents:
        return [Rejected(link, "not a file", "a link to a folder")]
    try:
        files, _ = _list_tree(target)
    except DataError:
        files = []
    refused = refusals(files, lambda name: _start(target / name))
    rejected = []
    for name in files:
        if name not in refused or refused[name].reason == "not a picture":
            path = f"{link}/{name}"
            rejected.append(Rejected(path, "not a file", "in a folder that is a link"))
    return rejected or [Rejected(link, "not a file", "a link to a folder")]


def _start(path: Path) -> bytes | None:
    """A file's first bytes; None if it is none, or can't be read."""
    try:
        if not path.is_file():  # a pipe would block for ever
            return None
        with path.open("rb", buffering=0) as file:
            return file.read(NUM_BYTES)
    except OSError:
        return None


def _table(folder: Path, source: Source) -> LabelTable | None:
    if source.labels is None:
        return None
    path = folder / source.labels
    try:
        content = _read(path)
    except Unusable as error:
        raise DataError(
            f"{path} can't be read: {error}. Name the table of labels, as seen from {folder}, in "
            "params.yaml: datasets.NAME.labels."
        ) from None
    return read_table(
        content, PurePosixPath(source.labels).as_posix(), source.label_column, str(path)
    )


def _read(path: Path) -> bytes:
    if not path.is_file():  # a pipe would block for ever; a broken link has no content
        raise Unusable("not a file")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise Unusable("too large", f"{size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise Unusable("not a file", f"can't be read: {error.strerror}") from None


def _raise(error: OSError) -> None:
    raise error
