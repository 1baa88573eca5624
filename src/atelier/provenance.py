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
    # In a form that `git apply` takes, whatever the user's configuration shows to people.
    plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/")
    diff = _git(root, "diff", "HEAD", "--binary", *plain)
    return GitState(commit, diff, bool(_git(root, "status", "--porcelain")))


def installed_packages() -> str:
    """All installed distributions as a requirements file, sorted."""
    lines = {f"{item.metadata['Name']}=={item.version}" for item in distributions()}
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    # Not text=True: line ends would change, and a changed file in another encoding would be an error.
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""
