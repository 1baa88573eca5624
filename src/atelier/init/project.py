"""The files of a new project: git, DVC with a local remote, and what both ignore."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from atelier.data.versions import dvc
from atelier.errors import UsageError
from atelier.machine import git

GITIGNORE = (
    "# state of the project: every part can be moved to a server",
    ".atelier/",
    ".prefect/",
    ".dvcstore/",
    "mlflow.db*",
    "mlruns/",
    "results/",
    ".venv/",
    "# data.dvc names the version of",
    "/data",
)
DVCIGNORE = (
    "# notes of the last ingest on this machine: no part of a version of data/",
    *dvc.IGNORED,
)
DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
    autostage = false
    remote = local
['remote "local"']
    url = ../.dvcstore
"""
DVC_GITIGNORE = ("/config.local", "/tmp", "/cache")

Done = Literal["created", "extended", "kept"]


@dataclass(frozen=True)
class Step:
    """What became of one file or folder."""

    name: str
    done: Done


def lay_out(root: Path, params: str | None, ignored: Iterable[str] = ()) -> list[Step]:
    """Make what is missing of a project; nothing that is there is replaced.

    Args:
        root: the folder; made if it is missing.
        params: text of params.yaml; None: it is not written.
        ignored: lines for .gitignore beside ours.

    Raises:
        UsageError: if the folder can't be made or written.
        ProvenanceError: if git is not installed, or fails.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        steps = [
            _repository(root),
            _lines(root / ".gitignore", [*GITIGNORE, *ignored], root),
            _lines(root / ".dvcignore", DVCIGNORE, root),
            _file(root / ".dvc" / "config", DVC_CONFIG, root),
            _lines(root / ".dvc" / ".gitignore", DVC_GITIGNORE, root),
        ]
        if params is not None:
            steps.append(_file(root / "params.yaml", params, root))
    except OSError as error:
        place = error.filename or root
        raise UsageError(
            f"{place} can't be written: {error.strerror}. Name another folder, or see who owns it."
        ) from None
    return steps


def _repository(root: Path) -> Step:
    if git.repository(root) is not None:
        return Step(".git", "kept")
    git.answer(root, "init", "--quiet", "--initial-branch=main")
    return Step(".git", "created")


def _file(path: Path, content: str, root: Path) -> Step:
    name = path.relative_to(root).as_posix()
    if os.path.lexists(path):
        return Step(name, "kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return Step(name, "created")


def _lines(path: Path, wanted: Iterable[str], root: Path) -> Step:
    """A file of patterns, with those that it lacks at its end."""
    name = path.relative_to(root).as_posix()
    if not os.path.lexists(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        return Step(name, "created")
    text = path.read_text(encoding="utf-8")
    present = {line.strip() for line in text.splitlines()}
    missing = [line for line in wanted if line.strip() not in present]
    if not missing:
        return Step(name, "kept")
    end = "" if not text or text.endswith("\n") else "\n"
    path.write_text(f"{text}{end}" + "\n".join(missing) + "\n", encoding="utf-8")
    return Step(name, "extended")
