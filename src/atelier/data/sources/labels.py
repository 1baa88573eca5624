"""A table of labels: a CSV file inside a folder or an archive that names each picture's class."""

from __future__ import annotations

import csv
import io
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from atelier.data.sources.names import escape, is_utf8, list_some
from atelier.data.sources.pictures import Rejected
from atelier.data.sources.signatures import PICTURE_ENDINGS
from atelier.errors import DataError

# The first that is there, else the table's first.
PATH_COLUMNS = ("file", "file_name", "filename", "path", "name", "image")
SEPARATORS = ",;\t"
SAVE_AS_UTF8 = 'Save it as UTF-8: in Excel, "CSV UTF-8"; elsewhere, iconv -t UTF-8.'


class LabelTable(NamedTuple):
    """The rows of a table of labels."""

    name: str  # its own path in the source
    where: str  # the file as people know it
    rows: list[tuple[str, str]]  # a picture's path as written, its class; an empty class is none


class Matches(NamedTuple):
    """Which row belongs to which picture."""

    # Of each named file; two different ones are a reason to reject it.
    classes: dict[str, str | Rejected | None]
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
    where = escape(where)
    if b"\0" in content:
        raise DataError(f"{where}: it is UTF-16 or no text at all, not UTF-8. {SAVE_AS_UTF8}")
    # surrogateescape: a path that is no UTF-8 still equals the one that the file system gives, or
    # the archive.
    text = content.decode("utf-8-sig", errors="surrogateescape")
    fitting = (separator for separator in SEPARATORS if column in _header(text, separator))
    separator = next(fitting, ",")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    rows = []
    last_line = 0
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
    """Match the rows with the files, by path.

    It starts at the source's root, or else at the table's own folder.
    A row whose path is no file's may leave out the ending, or differ in case, where only one
    picture can be meant.

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
    names: dict[str, str] = {}  # of the file that a path as written means
    for way in WAYS:
        rest = {path: places for path, places in written.items() if path not in names}
        if not rest:
            break
        others = paths
        if not way.is_exact:
            taken = {*names.values(), *(paths.keys() - set(pictures))}
            others = {name: path for name, path in paths.items() if name not in taken}
        names |= _find(rest, others, way)
    if pictures and not any(name in pictures for name in names.values()):
        raise _nothing_fits(table, pictures)
    return _matches(table, names, pictures)


def _fields(columns: list[str], column: str, where: str) -> tuple[int, int]:
    """Where in a row the path stands, and the class."""
    if columns.count(column) != 1:
        problem = f"there is no column {column!r}"
        if column in columns:
            problem = f"two columns are named {column!r}"
        raise DataError(
            f"{where}: {problem}; the columns are {escape(', '.join(columns)) or 'none'}. "
            "Name one of them in params.yaml: datasets.NAME.label_column."
        )
    path_columns = [name for name in PATH_COLUMNS if name in columns and name != column]
    path_column = path_columns[0] if path_columns else columns[0]
    return columns.index(path_column), columns.index(column)


def _row(row: list[str], fields: tuple[int, int], num_columns: int, where: str) -> tuple[str, str]:
    """A path and its class."""
    if any(field.strip() for field in row[num_columns:]):
        raise DataError(
            f"{where} has {len(row)} fields, the header {num_columns}: {escape(', '.join(row))}. "
            "Put a field that holds the separator in quotes."
        )
    path, class_name = (_field(row, position) for position in fields)
    if not _is_text(class_name):
        raise DataError(
            f"{where}: the class {escape(class_name)} is no text in UTF-8. {SAVE_AS_UTF8}"
        )
    return path, class_name.strip()


def _field(row: list[str], position: int) -> str:
    return row[position] if position < len(row) else ""


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
    names = {}
    for path, places in written.items():
        candidates = [files.get(way.row_key(place), []) for place in places]
        single = [group[0] for group in candidates if len(group) == 1]
        if single:
            names[path] = single[0]
    return names


def _matches(table: LabelTable, names: Mapping[str, str], pictures: Collection[str]) -> Matches:
    classes: dict[str, str | Rejected | None] = {}
    missing: dict[str, Rejected] = {}
    for written, class_name in table.rows:
        name = names.get(written)
        if name is None:
            path = _normal(written)
            missing[path] = Rejected(path, "missing", f"named by {table.name}{_hint(path)}")
        elif name in classes and classes[name] != (class_name or None):
            classes[name] = Rejected(
                name, "two labels", f"{table.name} gives it more than one class"
            )
        else:
            classes[name] = class_name or None
    unnamed = sorted(escape(name) for name in pictures if name not in classes)
    warning = (
        f"{len(unnamed):,} of {len(pictures):,} pictures have no row in {escape(table.name)}, so "
        f"they have no class: {list_some(unnamed)}"
    )
    rows_without_file = [missing[path] for path in sorted(missing)]
    return Matches(classes, rows_without_file, [warning] if unnamed else [])


def _nothing_fits(table: LabelTable, pictures: Collection[str]) -> DataError:
    first = table.rows[0][0] if table.rows else ""
    row = f"its first row names '{escape(first)}'{_hint(first)}" if first else "it has no rows"
    advice = SAVE_AS_UTF8
    if _is_text(first):
        advice = "Write paths as seen from the source's root, or from the table's own folder."
    return DataError(
        f"{table.where} names none of the {len(pictures):,} pictures: {row}, and a picture is "
        f"called '{escape(min(pictures))}'. {advice}"
    )


def _hint(path: str) -> str:
    return "" if _is_text(path) else ", which is no UTF-8"


def _is_text(field: str) -> bool:
    """Whether a field was text in UTF-8."""
    return is_utf8(field.encode("utf-8", "surrogateescape"))


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", posixpath.normpath(path.strip().replace("\\", "/")))


def _fold_case(path: str) -> str:
    return _normal(path).casefold()


def _without_ending(path: str) -> str:
    start, ending = posixpath.splitext(_fold_case(path))
    return start if ending in PICTURE_ENDINGS else start + ending


class _Way(NamedTuple):
    """How a file's path and a row's may be the same."""

    file_key: Callable[[str], str]
    row_key: Callable[[str], str]
    is_exact: bool  # False: only for pictures that no row names better


WAYS = (
    _Way(str, str, True),
    _Way(_normal, _normal, True),
    _Way(_fold_case, _fold_case, False),
    _Way(_without_ending, _fold_case, False),
)
