"""The way out where a merge left `data.dvc` with both sides in it, or something else damaged it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from atelier.data.versions.pointer import version_in
from atelier.errors import ProvenanceError
from atelier.machine import git

OURS = 2  # stages of git's index
THEIRS = 3


def way_out(project_root: Path, name: str) -> str:
    """What can be done about a damaged file, as the end of a sentence; each way was looked at.

    Args:
        project_root: the project's folder.
        name: of the file in it.
    """
    try:
        if git.repository(project_root) is not None:
            sides = _sides(project_root, name)
            if sides:
                return _choice(name, sides)
            stored = git.ask(project_root, "show", f"HEAD:./{name}")
            if _version_of(stored):
                return f". git has it as it was: git checkout HEAD -- {name}"
    except ProvenanceError as error:
        return f", and {error}"
    return f". Delete {name}, then run `atelier ingest`, which writes it anew for what data/ holds."


def _sides(project_root: Path, name: str) -> dict[str, str]:
    """The versions between which a merge leaves the choice, by git's option; empty: no conflict."""
    sides = {}
    for option, stage in (("--ours", OURS), ("--theirs", THEIRS)):
        content = git.ask(project_root, "show", f":{stage}:./{name}")
        version = _version_of(content)
        if version is not None:
            sides[option] = version
    return sides


def _version_of(shown: subprocess.CompletedProcess[bytes]) -> str | None:
    """The version that a file names which git showed; None if it has none, or is damaged."""
    try:
        return version_in(shown.stdout) if shown.returncode == 0 else None
    except ValueError:
        return None


def _choice(name: str, sides: dict[str, str]) -> str:
    ways = [
        f"  git checkout {option} {name} && git add {name} && atelier data checkout {version}"
        for option, version in sides.items()
    ]
    return ": a merge left both sides in it. Choose one of them:\n" + "\n".join(ways)
