"""What git answers. It may know, it may not have something, or it may fail: that is no absence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from atelier.errors import ProvenanceError


def ask(
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder, in English, whatever it answers.

    Raises:
        ProvenanceError: if git is not installed.
    """
    # Without optional locks `git status` writes nothing.
    own = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    environment = {**os.environ, **own, **(variables or {})}
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, input=given, capture_output=True, env=environment)
    except FileNotFoundError:
        raise _unknown(folder, "git is not installed") from None


def answer(
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """What git prints.

    Raises:
        ProvenanceError: with git's own reason, if it fails.
    """
    done = ask(folder, *arguments, given=given, variables=variables)
    if done.returncode:
        raise _unknown(folder, reason(done))
    return done.stdout


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why git failed, in its own words, on one line."""
    said = " ".join(done.stderr.decode("utf-8", errors="replace").split())
    return said or f"exit code {done.returncode}"


def repository(folder: Path) -> Path | None:
    """Top of the working tree that a folder is in; None if it is in no repository.

    Raises:
        ProvenanceError: if there is a repository that git can't, or won't, read.
    """
    if not _has_repository(folder):
        return None
    top = answer(folder, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(top.removesuffix(b"\n")))


def head(folder: Path) -> str:
    """Hash of HEAD; empty before the first commit.

    Raises:
        ProvenanceError: if there is a HEAD that git can't read, or no repository.
    """
    done = ask(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if done.returncode == 0:
        return done.stdout.decode().strip()
    why = ask(folder, "log", "-1")  # it tells a branch without commits from a broken one
    if b"does not have any commits yet" in why.stderr:
        return ""
    raise _unknown(folder, reason(why))


def knows(folder: Path, commit: str) -> bool:
    """Whether the repository of a folder, if it is in one, has a commit.

    Raises:
        ProvenanceError: if that can't be known.
    """
    if "\n" in commit or repository(folder) is None:
        return False
    name = f"{commit}^{{commit}}\n".encode()
    line = answer(folder, "cat-file", "--batch-check", given=name)
    return not line.rstrip().endswith((b" missing", b" ambiguous"))


def _has_repository(folder: Path) -> bool:
    """Whether git says, or a .git in this folder or above says, that there is one."""
    if any((place / ".git").exists() for place in (folder, *folder.resolve().parents)):
        return True
    try:
        done = ask(folder, "rev-parse", "--git-dir")
    except ProvenanceError:  # no git, and nothing that needs one
        return False
    if done.returncode and b"not a git repository (or any" not in done.stderr:
        raise _unknown(folder, reason(done))
    return done.returncode == 0


def _unknown(folder: Path, why: str) -> ProvenanceError:
    return ProvenanceError(f"git can't answer in {folder}: {why}")
