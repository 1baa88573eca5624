"""What a run was made of: commit, uncommitted changes, installed packages."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path


@dataclass(frozen=True)
class GitState:
    """The code's identity.

    Attributes:
        commit: hash of HEAD; empty outside git or before the first commit.
        diff: uncommitted changes of tracked files; empty if there are none.
        dirty: whether anything differs from the commit, files that git doesn't know yet included.
    """

    commit: str
    diff: str
    dirty: bool


def git_state(root: Path) -> GitState:
    """Commit and uncommitted changes of the project folder."""
    commit = _git(root, "rev-parse", "--verify", "HEAD").strip()
    return GitState(commit, _git(root, "diff", "HEAD"), bool(_git(root, "status", "--porcelain")))


def installed_packages() -> str:
    """All installed distributions as a requirements file, sorted."""
    lines = {f"{item.metadata['Name']}=={item.version}" for item in distributions()}
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""
