"""An archive of pictures as a source: zip, or tar under any common compression.

They are told apart by content.
Members are read into memory one by one and never written to disk.
An archive is read twice: first its names, which decide what is a class and what is a split, then
its pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from atelier.data.sources.archive_members import Member, members
from atelier.data.sources.download import fetch
from atelier.data.sources.file_sums import file_sum
from atelier.data.sources.labels import LabelTable, read_table
from atelier.data.sources.layout import MAX_FILE_BYTES, Layout, arrange, common_top, is_hidden
from atelier.data.sources.names import escape, list_some
from atelier.data.sources.pictures import Encoded, OpenedSource, Rejected, Unusable
from atelier.data.sources.signatures import NUM_BYTES, is_told_by_name, refusals
from atelier.errors import DataError
from atelier.params import Source


class _Contents(NamedTuple):
    """What the first reading of an archive finds."""

    # Clean name -> position; of several members of one name the last, as in unpacking.
    files: dict[str, int]
    refused: list[Rejected]
    layout: Layout


def open_source(project_root: Path, source: Source) -> OpenedSource:
    """Open an archive, fetching it first if it lies at an address.

    Raises:
        DataError: if it can't be found, trusted or read: damaged, encrypted, a bomb. While the
            items are iterated, too.
        RemoteError: if it can't be fetched.
    """
    path = _path_of(project_root, source)
    contents = _look_into(path, source)
    count = len(contents.layout.places) + len(contents.refused) + len(contents.layout.missing)
    return OpenedSource((), _items(path, contents), count, tuple(contents.layout.warnings))


def source_digest(project_root: Path, source: Source) -> str:
    """sha256 of the archive; that of an address stands in the parameters.

    Raises:
        DataError: if it is not there, or not the file that `sha256` tells of.
    """
    if source.sha256 is not None and "://" in str(source.path):
        return source.sha256
    path = project_root / str(source.path)
    sha256 = file_sum(project_root, path)
    if sha256 is None:
        raise DataError(
            f"{path} is no file that can be read. Name the archive, as seen from the project, or "
            "its https address in params.yaml: datasets.NAME.path."
        )
    if source.sha256 not in (None, sha256):
        raise DataError(
            f"{path}: expected the sha256 {source.sha256}, found {sha256}. Fetch the archive again."
        )
    return sha256


def _path_of(project_root: Path, source: Source) -> Path:
    if "://" in str(source.path):
        return fetch(project_root, str(source.path), str(source.sha256))
    source_digest(project_root, source)  # raises what there is to raise
    return project_root / str(source.path)


def _items(path: Path, contents: _Contents) -> Iterator[Encoded | Rejected]:
    yield from contents.refused
    yield from contents.layout.missing
    wanted = {
        position: name
        for name, position in contents.files.items()
        if name in contents.layout.places
    }
    with closing(members(path)) as all_members:
        for position, member in enumerate(all_members):
            if position not in wanted:
                continue
            name = wanted[position]
            place = contents.layout.places[name]
            if isinstance(place, Rejected):
                yield place
                continue
            try:
                content = _read(member)
            except Unusable as error:
                yield Rejected(name, error.reason, error.detail)
            else:
                yield Encoded(name, place.class_name, place.split, partial(bytes, content))


def _look_into(path: Path, source: Source) -> _Contents:
    files: dict[str, int] = {}
    refused: list[Rejected] = []
    starts: dict[str, bytes | None] = {}
    tables: dict[str, bytes] = {}  # what may be the table of labels
    for position, member in enumerate(members(path)):
        name = _clean(member.path)
        if name is None:
            refused.append(
                Rejected(member.name, "unsafe path", "absolute, or leads out of the archive")
            )
        elif not is_hidden(name):
            if not member.is_file:
                refused.append(Rejected(name, "not a file", "a link, a device or a sparse file"))
                continue
            files[name] = position
            if _may_be_table(name, source):
                tables[name] = member.read() if member.size <= MAX_FILE_BYTES else b""
                starts[name] = tables[name][:NUM_BYTES]
            elif not is_told_by_name(name):
                starts[name] = _start(member)
    no_pictures = refusals(files, starts.__getitem__)
    top = common_top(name for name in files if name not in no_pictures)
    layout = arrange(files, no_pictures, _table(path, source, tables, top), top)
    links = [escape(refusal.name) for refusal in refused if refusal.reason == "not a file"]
    if links:
        layout.warnings.append(
            f"{len(links):,} links or devices in {path.name} are left out: {list_some(links)}"
        )
    return _Contents(files, refused, layout)


def _may_be_table(name: str, source: Source) -> bool:
    """Whether a member may be the table of labels, which the parameters name from the root."""
    if source.labels is None:
        return False
    return name == source.labels or name.endswith(f"/{source.labels}")


def _start(member: Member) -> bytes | None:
    """A member's first bytes; None if it is damaged."""
    try:
        return member.read(NUM_BYTES)
    except Unusable:
        return None


def _table(path: Path, source: Source, tables: dict[str, bytes], top: str) -> LabelTable | None:
    if source.labels is None:
        return None
    for name in (source.labels, top + source.labels):
        if name in tables:
            return read_table(tables[name], name, source.label_column, f"{path}: {name}")
    raise DataError(
        f"{path} holds no {source.labels}. Name the table of labels, as seen from the archive's "
        "root, in params.yaml: datasets.NAME.labels."
    )


def _clean(name: str) -> str | None:
    """A member's path without empty and `.` parts.

    None if it would leave the folder that it is unpacked into.
    """
    parts = name.split("/")
    if not parts[0] or ".." in parts or re.match("[A-Za-z]:", name) or "\0" in name:
        return None
    return "/".join(part for part in parts if part not in ("", ".")) or None


def _read(member: Member) -> bytes:
    if member.size > MAX_FILE_BYTES:
        raise Unusable("too large", f"{member.size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
    return member.read()
