"""A project as it was at a commit, with the changes that were not committed then, in a folder of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atelier.errors import ProvenanceError


@dataclass(frozen=True)
class Worktree:
    """Where it lies.

    Attributes:
        top: of the repository.
        project: the project's folder in it.
        scratch: an empty folder beside it; all of it is removed with the worktree.
    """

    top: Path
    project: Path
    scratch: Path


def knows(root: Path, commit: str) -> bool:
    """Whether the repository has a commit."""
    return _git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def described(root: Path, commit: str) -> dict[str, str]:
    """Date and subject of a commit; empty if the repository hasn't it."""
    done = _git(root, "show", "--no-patch", "--format=%cI%x1f%s", "--end-of-options", commit)
    date, _, subject = done.stdout.decode("utf-8", errors="replace").strip().partition("\x1f")
    return {"date": date, "subject": subject} if done.returncode == 0 else {}


def changed_files(root: Path, before: str, after: str) -> str:
    """`git diff --stat` from one commit to another; empty if they don't differ, or git doesn't know them."""
    done = _git(root, "diff", "--stat=100", "--no-color", "--no-ext-diff", "--end-of-options", before, after)
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""


@contextmanager
def checked_out(root: Path, commit: str, diff: bytes) -> Iterator[Worktree]:
    """A git worktree for a while.

    Args:
        root: the project's folder, in a git repository.
        commit: full hash.
        diff: what was not committed, in the form of `git diff --binary`; may be empty.

    Raises:
        ProvenanceError: if git can't make it, the changes don't apply, or there was no project at that commit.
    """
    prefix = _git(root, "rev-parse", "--show-prefix").stdout.decode().strip()
    with tempfile.TemporaryDirectory(prefix="atelier-", ignore_cleanup_errors=True) as folder:
        top, scratch = Path(folder).resolve() / "tree", Path(folder).resolve() / "scratch"
        scratch.mkdir()
        # Without hooks: what somebody's post-checkout does is no part of the commit.
        add = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(top), commit)
        _required(root, f"commit {commit[:10]} can't be checked out", *add)
        try:
            if diff.strip():
                problem = "the stored uncommitted changes do not apply to their commit"
                _required(top, problem, "apply", "--whitespace=nowarn", "-", given=diff)
            project = top / prefix
            if not project.is_dir():
                raise ProvenanceError(f"commit {commit[:10]} has no folder {prefix}: the project was not there then.")
            yield Worktree(top, project, scratch)
        finally:
            _git(root, "worktree", "remove", "--force", str(top))


def _required(folder: Path, problem: str, *arguments: str, given: bytes = b"") -> None:
    done = _git(folder, *arguments, given=given)
    if done.returncode:
        reason = " ".join(done.stderr.decode("utf-8", errors="replace").split())
        raise ProvenanceError(f"{problem}: {reason}")


def _git(folder: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(folder), *arguments], input=given, capture_output=True, check=False)
    except FileNotFoundError:
        raise ProvenanceError("git is not installed, and what was made at a commit can't be found without.") from None
