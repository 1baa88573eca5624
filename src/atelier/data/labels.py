"""A table of labels: a CSV file inside a folder or an archive that names each picture's class."""

from __future__ import annotations

import csv
import io
import posixpath
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from atelier.data.pictures import Rejected
from atelier.errors import DataError

PATH_COLUMNS = ("file", "file_name", "filename", "path", "name", "image")  # the first that is there, else the first


@dataclass(frozen=True)
class LabelTable:
    """The rows of a table of labels."""

    name: str  # its own path in the source
    rows: list[tuple[str, str]]  # a picture's path as written, its class; an empty class is none


def read_table(content: bytes, name: str, column: str, where: str) -> LabelTable:
    """Read a CSV file with a header, in UTF-8.

    Args:
        content: the file.
        name: its path in the source.
        column: the column that holds the classes.
        where: the file as people know it, for messages.

    Raises:
        DataError: if it is no CSV file, or has no such column.
    """
    # surrogateescape: a path that is no UTF-8 still equals the one that the file system or archive gives
    text = io.StringIO(content.decode("utf-8-sig", errors="surrogateescape"), newline="")
    try:
        reader = csv.DictReader(text, restval="")
        columns = list(reader.fieldnames or ())
        if column not in columns:
            raise DataError(
                f"{where}: there is no column {column!r}; the columns are {', '.join(columns) or 'none'}. "
                "Name one of them in params.yaml: datasets.NAME.label_column."
            )
        path_column = next((known for known in PATH_COLUMNS if known in columns and known != column), columns[0])
        return LabelTable(name, [(row[path_column], row[column].strip()) for row in reader if row[path_column]])
    except csv.Error as error:
        raise DataError(f"{where}: no CSV after line {reader.line_num}: {error}. Repair the file.") from None


def classes_of(
    table: LabelTable, paths: Mapping[str, str], top: str
) -> tuple[dict[str, str | Rejected | None], list[Rejected]]:
    """Match the rows with the files: by path from the source's root, or else from the table's own folder.

    Args:
        table: the rows.
        paths: of every file, by its name: the name without `top`.
        top: what is left out of the names.

    Returns:
        the class of each named file (two different ones are a reason to reject it), and the rows without a file.
    """
    names = {_normal(path): name for name, path in paths.items()}
    own_folder = posixpath.dirname(table.name.removeprefix(top))
    classes: dict[str, str | Rejected | None] = {}
    missing: dict[str, Rejected] = {}
    for written, class_name in table.rows:
        path = _normal(written)
        places = (path, _normal(posixpath.join(own_folder, path)), path.removeprefix(top))
        name = next((names[place] for place in places if place in names), None)
        if name is None:
            missing[path] = Rejected(path, "missing", f"named by {table.name}")
        elif name in classes and classes[name] != (class_name or None):
            classes[name] = Rejected(name, "two labels", f"{table.name} gives it more than one class")
        else:
            classes[name] = class_name or None
    return classes, [missing[path] for path in sorted(missing)]


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", posixpath.normpath(path.strip().replace("\\", "/")))
