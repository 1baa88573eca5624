"""A project as it was at a commit, with the uncommitted changes of then, in a folder of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atelier.errors import ProvenanceError
from atelier.factory.uncommitted import APPLY, fill_submodules
from atelier.machine import git


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


def describe_commit(root: Path, commit: str) -> dict[str, str]:
    """Date and subject of a commit; empty if the repository hasn't it.

    Raises:
        ProvenanceError: if git fails.
    """
    if not git.knows(root, commit):
        return {}
    arguments = ("--no-patch", "--format=%cI%x1f%s", "--end-of-options", commit)
    answer = git.answer(root, "-c", "log.showSignature=false", "show", *arguments)
    date, _, subject = answer.decode("utf-8", errors="replace").strip().partition("\x1f")
    return {"date": date, "subject": subject}


def changed_files(root: Path, before: str, after: str) -> str:
    """`git diff --stat` between two commits; empty if they don't differ, or git has not both.

    Raises:
        ProvenanceError: if git fails.
    """
    if not (git.knows(root, before) and git.knows(root, after)):
        return ""
    shape = ("--stat=100", "--no-color", "--no-ext-diff", "--end-of-options")
    return git.answer(root, "diff", *shape, before, after).decode("utf-8", errors="replace")


@contextmanager
def check_out(root: Path, commit: str, diff: bytes) -> Iterator[Worktree]:
    """Make a git worktree for a while.

    Args:
        root: the project's folder, in a git repository.
        commit: full hash.
        diff: what was not committed, in the form of `git diff --binary`; may be empty.

    Raises:
        ProvenanceError: if git can't make it, the changes don't apply, or there was no project
            at that commit.
    """
    own_top = git.repository(root)
    if own_top is None:
        raise ProvenanceError(f"{root} is in no git repository, so it has no commit {commit[:10]}.")
    prefix = os.fsdecode(git.answer(root, "rev-parse", "--show-prefix").rstrip(b"\n"))
    with tempfile.TemporaryDirectory(prefix="atelier-", ignore_cleanup_errors=True) as folder:
        top = Path(folder).resolve() / "tree"
        scratch = Path(folder).resolve() / "scratch"
        scratch.mkdir()
        # Without hooks: what somebody's post-checkout does is no part of the commit.
        add = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach")
        _run_git(root, f"commit {commit[:10]} can't be checked out", *add, str(top), commit)
        try:
            if diff.strip():
                problem = "the stored uncommitted changes do not apply to their commit"
                # With the index, which names the commits of submodules.
                _run_git(top, problem, *APPLY, "--index", "-", given=diff)
            fill_submodules(own_top, top)
            project = top / prefix
            if not project.is_dir():
                raise ProvenanceError(
                    f"commit {commit[:10]} has no folder {prefix}: the project was not there then."
                )
            yield Worktree(top, project, scratch)
        finally:
            # Twice --force: also with submodules.
            git.ask(root, "worktree", "remove", "--force", "--force", str(top))


def _run_git(folder: Path, problem: str, *arguments: str, given: bytes = b"") -> None:
    """Run git, which has to succeed: else `problem` is the beginning of the error message."""
    done = git.ask(folder, *arguments, given=given)
    if done.returncode:
        raise ProvenanceError(f"{problem}: {git.reason(done)}")
