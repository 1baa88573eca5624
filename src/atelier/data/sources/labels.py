"""A table of labels: a CSV file inside a folder or an archive that names each picture's class."""

from __future__ import annotations

import csv
import io
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from atelier.data.sources.names import is_utf8, list_some, shown
from atelier.data.sources.pictures import Rejected
from atelier.data.sources.signatures import PICTURE_ENDINGS
from atelier.errors import DataError

PATH_COLUMNS = (
    "file",
    "file_name",
    "filename",
    "path",
    "name",
    "image",
)  # the first that is there, else the first
SEPARATORS = ",;\t"
SAVE_AS_UTF8 = 'Save it as UTF-8: in Excel, "CSV UTF-8"; elsewhere, iconv -t UTF-8.'


class LabelTable(NamedTuple):
    """The rows of a table of labels."""

    name: str  # its own path in the source
    where: str  # the file as people know it
    rows: list[tuple[str, str]]  # a picture's path as written, its class; an empty class is none


class Matches(NamedTuple):
    """Which row belongs to which picture."""

    classes: dict[
        str, str | Rejected | None
    ]  # of each named file; two different ones are a reason to reject it
    missing: list[Rejected]  # rows without a file
    warnings: list[str]  # for people: pictures without a row


def read_table(content: bytes, name: str, column: str, where: str) -> LabelTable:
    """Read a CSV file with a header, in UTF-8, with commas, semicolons or tabs.

    Args:
        content: the file.
        name: its path in the source.
        column: the column that holds the classes.
        where: the file as people know it, for messages.

    Raises:
        DataError: if it is no CSV file, has no such column, or its classes are no UTF-8.
    """
    where = shown(where)
    if b"\0" in content:
        raise DataError(f"{where}: it is UTF-16 or no text at all, not UTF-8. {SAVE_AS_UTF8}")
    # surrogateescape: a path that is no UTF-8 still equals the one that the file system or archive gives
    text = content.decode("utf-8-sig", errors="surrogateescape")
    separator = next((one for one in SEPARATORS if column in _header(text, one)), ",")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    rows, last_line = [], 0
    try:
        columns = _columns(reader)
        fields = _fields(columns, column, where)
        last_line = reader.line_num
        for row in reader:
            rows.append(_row(row, fields, len(columns), f"{where}: line {reader.line_num}"))
            last_line = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{where}: no CSV after line {last_line}: {error}. Repair the file."
        ) from None
    return LabelTable(name, where, [row for row in rows if row[0]])


def match_labels(
    table: LabelTable, paths: Mapping[str, str], pictures: Collection[str], top: str
) -> Matches:
    """Match the rows with the files: by path from the source's root, or else from the table's own folder.

    A row whose path is no file's may leave out the ending, or differ in case, where only one picture can be meant.

    Args:
        table: the rows.
        paths: of every file, by its name: the name without `top`.
        pictures: those of them that are pictures.
        top: what is left out of the names.

    Raises:
        DataError: if no row names a picture.
    """
    own_folder = posixpath.dirname(table.name.removeprefix(top))
    written = {path: _places(path, own_folder, top) for path, _ in table.rows}
    found: dict[str, str] = {}  # a path as written, and the file that it names
    for way in WAYS:
        rest = {path: places for path, places in written.items() if path not in found}
        if rest:
            named = set() if way.is_exact else set(found.values()) | (paths.keys() - set(pictures))
            found |= _find(
                rest, {name: path for name, path in paths.items() if name not in named}, way
            )
    if pictures and not any(name in pictures for name in found.values()):
        raise _nothing_fits(table, pictures)
    return _matches(table, found, pictures)


def _fields(columns: list[str], column: str, where: str) -> tuple[int, int]:
    """Where in a row the path stands, and the class."""
    if columns.count(column) != 1:
        problem = (
            f"two columns are named {column!r}"
            if column in columns
            else f"there is no column {column!r}"
        )
        raise DataError(
            f"{where}: {problem}; the columns are {shown(', '.join(columns)) or 'none'}. "
            "Name one of them in params.yaml: datasets.NAME.label_column."
        )
    known = (known for known in PATH_COLUMNS if known in columns and known != column)
    return columns.index(next(known, columns[0])), columns.index(column)


def _row(row: list[str], fields: tuple[int, int], num_columns: int, where: str) -> tuple[str, str]:
    """A path and its class."""
    if any(field.strip() for field in row[num_columns:]):
        raise DataError(
            f"{where} has {len(row)} fields, the header {num_columns}: {shown(', '.join(row))}. "
            "Put a field that holds the separator in quotes."
        )
    path, class_name = (row[field] if field < len(row) else "" for field in fields)
    if not _is_text(class_name):
        raise DataError(
            f"{where}: the class {shown(class_name)} is no text in UTF-8. {SAVE_AS_UTF8}"
        )
    return path, class_name.strip()


def _header(text: str, separator: str) -> list[str]:
    """The columns, if that is what separates them; empty if it can't be."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        return _columns(reader)
    except csv.Error:  # told by `read_table`
        return []


def _columns(reader: Iterator[list[str]]) -> list[str]:
    return [field.strip() for field in next(filter(None, reader), [])]


def _places(written: str, own_folder: str, top: str) -> tuple[str, ...]:
    """What a row's path may mean, the likeliest first."""
    path = _normal(written)
    return (
        written,
        path,
        posixpath.join(own_folder, written),
        posixpath.join(own_folder, path),
        path.removeprefix(top),
    )


def _find(
    written: Mapping[str, tuple[str, ...]], paths: Mapping[str, str], way: _Way
) -> dict[str, str]:
    """The file that each path as written names, where there is just one."""
    files: dict[str, list[str]] = defaultdict(list)
    for name, path in paths.items():
        files[way.file_key(path)].append(name)
    found = {}
    for path, places in written.items():
        groups = (files.get(way.row_key(place), ()) for place in places)
        meant = next((names[0] for names in groups if len(names) == 1), None)
        if meant is not None:
            found[path] = meant
    return found


def _matches(table: LabelTable, found: Mapping[str, str], pictures: Collection[str]) -> Matches:
    classes: dict[str, str | Rejected | None] = {}
    missing: dict[str, Rejected] = {}
    for written, class_name in table.rows:
        name = found.get(written)
        if name is None:
            path = _normal(written)
            missing[path] = Rejected(path, "missing", f"named by {table.name}{_hint(path)}")
        elif name in classes and classes[name] != (class_name or None):
            classes[name] = Rejected(
                name, "two labels", f"{table.name} gives it more than one class"
            )
        else:
            classes[name] = class_name or None
    unnamed = sorted(shown(name) for name in pictures if name not in classes)
    warning = (
        f"{len(unnamed):,} of {len(pictures):,} pictures have no row in {shown(table.name)}, so they have no class: "
        f"{list_some(unnamed)}"
    )
    return Matches(
        classes, [missing[path] for path in sorted(missing)], [warning] if unnamed else []
    )


def _nothing_fits(table: LabelTable, pictures: Collection[str]) -> DataError:
    first = table.rows[0][0] if table.rows else ""
    row = f"its first row names '{shown(first)}'{_hint(first)}" if first else "it has no rows"
    advice = "Write paths as seen from the source's root, or from the table's own folder."
    return DataError(
        f"{table.where} names none of the {len(pictures):,} pictures: {row}, and a picture is called "
        f"'{shown(min(pictures))}'. {advice if _is_text(first) else SAVE_AS_UTF8}"
    )


def _hint(path: str) -> str:
    return "" if _is_text(path) else ", which is no UTF-8"


def _is_text(field: str) -> bool:
    """Whether a field was text in UTF-8."""
    return is_utf8(field.encode("utf-8", "surrogateescape"))


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", posixpath.normpath(path.strip().replace("\\", "/")))


def _folded(path: str) -> str:
    return _normal(path).casefold()


def _without_ending(path: str) -> str:
    start, ending = posixpath.splitext(_folded(path))
    return start if ending in PICTURE_ENDINGS else start + ending


class _Way(NamedTuple):
    """How a file's path and a row's may be the same."""

    file_key: Callable[[str], str]
    row_key: Callable[[str], str]
    is_exact: bool  # False: only for pictures that no row names better


WAYS = (
    _Way(str, str, True),
    _Way(_normal, _normal, True),
    _Way(_folded, _folded, False),
    _Way(_without_ending, _folded, False),
)
