"""What a run was made of: commit, uncommitted changes, installed packages."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from atelier.factory.uncommitted import NOTHING, Uncommitted, take
from atelier.machine import git


@dataclass(frozen=True)
class GitState:
    """The code's identity.

    Attributes:
        commit: hash of HEAD; empty outside git or before the first commit.
        dirty: whether anything differs from the commit, files that git doesn't know yet included.
        uncommitted: what differs.
    """

    commit: str
    dirty: bool
    uncommitted: Uncommitted = NOTHING

    def tags(self) -> dict[str, str]:
        """What a version says of its code."""
        return {
            "git.commit": self.commit,
            "git.dirty": str(self.dirty).lower(),
            "git.left_out": self.uncommitted.left_out,
            "git.problem": self.uncommitted.problem,
        }


def git_state(root: Path) -> GitState:
    """Commit and uncommitted changes of the project folder.

    Raises:
        ProvenanceError: if there is a repository, and git can't say what it holds.
    """
    top = git.repository(root)
    if top is None:
        return GitState("", False)
    commit = git.head(root)
    # By a command of its own: what the user hides from `git status` differs nevertheless.
    hidden = ("--untracked-files=normal", "--ignore-submodules=none")
    dirty = bool(git.answer(top, "status", "--porcelain", *hidden))
    return GitState(commit, dirty, take(root, top) if commit and dirty else NOTHING)


def installed_packages() -> str:
    """All installed distributions as a requirements file, sorted."""
    lines = {f"{item.metadata['Name']}=={item.version}" for item in distributions()}
    return "\n".join(sorted(lines, key=str.lower)) + "\n"
