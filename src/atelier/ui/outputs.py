"""Files that commands write for people.

Only what Atelier wrote, and nobody changed since, is replaced.
The project's record of them is `.atelier/outputs.json`.
`restore` needs none: it replaces nothing unless it is told to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from atelier.errors import UsageError
from atelier.project import Project

FOLDER = "results"  # where a command writes that was given no place


def default_output(project: Project, name: str) -> Path:
    """A place in the project's folder for results, which git does not see."""
    folder = project.root / FOLDER
    if not folder.exists():
        folder.mkdir()
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder / name


def refuse_overwriting(project: Project, *paths: Path) -> None:
    """To be called before any work whose results are to be written there.

    Raises:
        UsageError: if there is anything that Atelier did not write, or that was changed since.
    """
    present = [path for path in paths if os.path.lexists(path)]
    record = _record(project) if present else {}
    for path in present:
        digest = _digest(path.read_bytes()) if path.is_file() else ""
        if not digest or digest != record.get(_key(project, path)):
            raise UsageError(
                f"{path} was there before: not written by Atelier from this project, or changed "
                "since. Nothing was written. Name another file with -o, or move that one."
            )


def write_output(project: Project, path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UsageError: as `refuse_overwriting`, or if the place can't be written to.
    """
    write_outputs(project, {path: content})


def write_outputs(project: Project, contents: Mapping[Path, bytes]) -> None:
    """Write files, each whole or not at all; none if one of them may not be replaced.

    Raises:
        UsageError: as `refuse_overwriting`, or if a place can't be written to.
    """
    refuse_overwriting(project, *contents)
    written: dict[str, str] = {}
    try:
        try:
            for path, content in contents.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, content)
                written[_key(project, path)] = _digest(content)
        finally:  # what was written before an error is ours as well
            if written:
                record = json.dumps(_record(project) | written, indent=1)
                replace_file(_record_path(project), record.encode())
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}.") from None


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, with its folder; raises OSError if it can't be."""
    new = path.with_name(f".{path.name}.new")
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        new.write_bytes(content)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _key(project: Project, path: Path) -> str:
    """By which the record knows a file: from the project's folder on, which may be moved."""
    place = path.resolve()
    if place.is_relative_to(project.root):
        place = place.relative_to(project.root)
    return str(place)


def _record(project: Project) -> dict[str, str]:
    """sha256 by path of all outputs; empty where there is no record that can be read."""
    try:
        record = json.loads(_record_path(project).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {_key(project, project.root / path): digest for path, digest in record.items()}


def _record_path(project: Project) -> Path:
    return project.root / ".atelier" / "outputs.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
