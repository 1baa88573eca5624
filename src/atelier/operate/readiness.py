"""What has to be so before a stack is started: room on the disk, and databases that are whole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from atelier.errors import AtelierError
from atelier.machine.stack_record import make_folder
from atelier.project import Project

# Both databases, made anew, and the first log lines: 3 MB, and as much for SQLite's journals.
NEEDED_MB = 8
LOCKED_SECONDS = 5.0


def refuse_full_disk(project: Project) -> None:
    """Stop if the servers could not write; by writing, since a quota shows in no other way.

    Raises:
        AtelierError: saying what the system said.
    """
    probe = make_folder(project.root) / "room"
    try:
        with probe.open("wb") as file:
            for _ in range(NEEDED_MB):
                file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise AtelierError(
            f"{project.root} has no room for {NEEDED_MB} MB, which the servers need to start: "
            f"{error.strerror}. Make room there, then: atelier up."
        ) from None
    finally:
        probe.unlink(missing_ok=True)


def refuse_broken_databases(project: Project, own: Collection[str]) -> None:
    """Stop if a database of the servers that are to be started is not whole.

    Raises:
        AtelierError: naming the file and what is wrong with it.
    """
    home = Path(os.environ.get("PREFECT_HOME", project.root / ".prefect"))
    files = {"prefect": home / "prefect.db", "mlflow": project.root / "mlflow.db"}
    for name in own:
        problem = _problem(files[name])
        if problem:
            raise AtelierError(
                f"{files[name]} is no database that {name} could use: {problem}. "
                "Put back a copy (docs/guide/operate.md, Backup), or move it away to begin anew."
            )


def _problem(file: Path) -> str:
    """What is wrong with an SQLite file; empty if nothing is, or if there is none."""
    if not file.exists():
        return ""
    try:
        with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return "" if verdict == "ok" else " ".join(str(verdict).split())
