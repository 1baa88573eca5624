"""A project that was moved or copied: its own registry learns where its files are now.

MLflow keeps with every experiment, run and model the absolute address of its files. A registry that
came to another folder would find nothing, or go on writing in the folder that it was copied from.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from atelier.errors import RegistryError
from atelier.machine.places import local_path
from atelier.project import Project

FILES = "/mlruns"  # the folder of a project in which MLflow keeps its files
# Every column of MLflow's tables that holds such an address.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
OWNERS = ("runs", "logged_models")  # each has a folder of its own
LOCKED_SECONDS = 30.0
Columns = list[tuple[str, str]]
Database = sqlite3.Connection


@dataclass(frozen=True)
class Relocation:
    """What was done about the addresses that name another project folder.

    Attributes:
        old: that folder.
        new: the project's.
        count: addresses that were changed.
        copied: whether the other folder has the files too, and keeps them.
        left: addresses that were not changed, since their files are not here.
    """

    old: Path
    new: Path
    count: int
    copied: bool
    left: int

    def __str__(self) -> str:
        if not self.count:
            where = f"there, in {self.old}," if self.copied else f"neither here nor in {self.old}"
            return f"the files of {self.left} runs and models are {where} and were left so"
        word = "copied" if self.copied else "moved"
        done = f"the project was {word} from {self.old}: {self.count} addresses of its registry"
        return f"{done} name {self.new} now"


@dataclass
class _Group:
    """The addresses that begin with the same folder, spelt the same way."""

    prefix: str
    folders: list[Path]  # of runs and models
    has_experiment: bool = False  # as Atelier makes them, with no folder of its own

    @property
    def old(self) -> Path:
        return local_path(self.prefix) or Path(self.prefix)


def relocate(project: Project) -> list[Relocation]:
    """Let a project's own registry name the files that are here; decided in milliseconds.

    Who calls it holds off others that would do the same.

    Returns:
        What was done, or left, of each other folder that is named; empty where all is in place.

    Raises:
        RegistryError: if there is something to change, and the database can't be written.
    """
    file = project.root / "mlflow.db"
    if not file.is_file():
        return []
    try:
        with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS)) as database:
            columns = _existing_columns(database)
            groups = _groups_elsewhere(database, columns, project.root)
            relocations = [_mend(database, columns, group, project.root) for group in groups]
            return [each for each in relocations if each.count or each.left]
    except sqlite3.Error as error:
        raise RegistryError(
            f"{file} may name files in the folder that the project was moved or copied from, and "
            f"that can't be mended: {error}. See that the file can be written; then: atelier adopt."
        ) from None


def _existing_columns(database: Database) -> Columns:
    """The columns that this version of MLflow's tables has."""
    columns = []
    for table, column in COLUMNS:
        names = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        if column in names:
            columns.append((table, column))
    return columns


def _groups_elsewhere(database: Database, columns: Columns, root: Path) -> list[_Group]:
    """The addresses that name the files of another folder."""
    groups: dict[str, _Group] = {}
    homes = {f"{root.as_uri()}{FILES}", f"{root}{FILES}"}
    for table, address in _addresses(database, columns, root):
        prefix, separator, rest = address.rpartition(FILES)
        if not separator or (rest and not rest.startswith("/")) or local_path(address) is None:
            continue
        if f"{prefix}{FILES}" in homes:
            continue
        group = groups.setdefault(prefix, _Group(prefix, []))
        if table in OWNERS:
            group.folders.append(local_path(f"file://{rest}") or Path(rest))
        elif table == "experiments" and not rest:
            group.has_experiment = True
    return list(groups.values())


def _addresses(database: Database, columns: Columns, root: Path) -> Iterator[tuple[str, str]]:
    """All that don't begin with the project's folder, with their tables."""
    home = f"{root.as_uri()}{FILES}"
    for table, column in columns:
        # What begins with `home/` stands between that and `home0`, the next character.
        query = f"SELECT {column} FROM {table} WHERE {column} < ? OR {column} >= ?"
        for (address,) in database.execute(query, (f"{home}/", f"{home}0")):
            yield table, str(address)


def _mend(database: Database, columns: Columns, group: _Group, root: Path) -> Relocation:
    """Change one group, whole or not at all."""
    old = group.old
    here = Path(f"{root}{FILES}")
    copied = _any_in(Path(f"{old}{FILES}"), group.folders)
    if _any_in(here, group.folders):
        changed = columns
    elif group.has_experiment and not copied:
        # No file anywhere; but what is logged from now on belongs here.
        changed = [pair for pair in columns if pair[0] == "experiments"]
    else:
        changed = []
    new = root.as_uri() if group.prefix.startswith("file:") else str(root)
    count = 0
    with database:
        for table, column in changed:
            count += _replace(database, table, column, (group.prefix, new))
    left = 0 if changed == columns else len(group.folders)
    return Relocation(old, root, count, copied, left)


def _any_in(place: Path, folders: list[Path]) -> bool:
    return any(Path(f"{place}{folder}").is_dir() for folder in folders)


def _replace(database: Database, table: str, column: str, prefixes: tuple[str, str]) -> int:
    """Another beginning for all addresses of a column that have the first one."""
    before, after = prefixes
    start = f"{before}{FILES}"
    length = len(start)
    query = (
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
        f"WHERE substr({column}, 1, ?) = ? AND substr({column}, ?, 1) IN ('', '/')"
    )
    arguments = (f"{after}{FILES}", length + 1, length, start, length + 1)
    return database.execute(query, arguments).rowcount
