"""The only module that talks to DVC, by its command line: which version `data/` is, and where its bytes are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from atelier.errors import DataError, RemoteError

DATA = "data"
DATA_DVC = "data.dvc"


def track(project_root: Path) -> str:
    """Make `data.dvc` name what `data/` holds (`dvc add`); where nothing changed, the file stays as it is.

    Returns:
        The version, as `data_md5` does.

    Raises:
        DataError: if there is no `data/`, or the project is not a git repository with DVC set up.
    """
    if not (project_root / DATA).is_dir():
        raise DataError(f"{project_root / DATA} does not exist, so there is nothing to track. Run `atelier run`.")
    _dvc(project_root, "add", DATA)
    md5 = data_md5(project_root)
    assert md5 is not None  # dvc add wrote the file
    return md5


def push(project_root: Path) -> None:
    """Copy the version that `data.dvc` names to the DVC remote; what is there already is not sent again.

    Raises:
        DataError: if `data/` is not the version that `data.dvc` names.
        RemoteError: if the remote can't be reached.
    """
    # With an empty cache `dvc push` would send the list of files without the files, and report success (DVC 3.67).
    if not is_clean(project_root):
        raise DataError(f"{DATA}/ is not the version that {DATA_DVC} names, so it can't be pushed. Track it first.")
    _with_remote(project_root, "push", DATA_DVC)


def pull(project_root: Path) -> None:
    """Bring `data/` to the version that `data.dvc` names, from the cache or the remote; other data is not overwritten.

    Raises:
        RemoteError: if the remote lacks it or can't be reached, or `data/` holds something that is not tracked.
    """
    _with_remote(project_root, "pull", DATA_DVC)


def restore_if_missing(project_root: Path) -> bool:
    """Pull on a fresh clone: if there is no `data/`, but `data.dvc` names a version that the cache or remote holds.

    Returns:
        True if `data/` was pulled; False if there was nothing to do or nothing to be had.

    Raises:
        RemoteError: if the remote can't be reached.
    """
    if (project_root / DATA).exists() or data_md5(project_root) is None or not in_remote(project_root):
        return False
    pull(project_root)
    return True


def data_md5(project_root: Path) -> str | None:
    """The version that `data.dvc` names: 32 hexadecimal digits and `.dir`; None if nothing was tracked yet.

    Raises:
        DataError: if `data.dvc` can't be understood.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = project_root / DATA_DVC
    try:
        return str(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))["outs"][0]["md5"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, YAMLError, KeyError, TypeError, IndexError):
        raise DataError(
            f"{path} is not a file that DVC wrote (a merge conflict?). Restore it: git checkout {DATA_DVC}."
        ) from None


def is_clean(project_root: Path) -> bool:
    """Whether `data/` and the cache hold the version that `data.dvc` names.

    Raises:
        DataError: if the project is not a git repository with DVC set up.
    """
    if data_md5(project_root) is None:
        return False
    return not json.loads(_dvc(project_root, "status", "--json", DATA_DVC))


def in_remote(project_root: Path) -> bool:
    """Whether the remote holds the version that `data.dvc` names. DVC looks for its list of files, which is sent last.

    Raises:
        RemoteError: if the remote can't be reached.
    """
    if data_md5(project_root) is None:
        return False
    # Not `dvc status --cloud`: where both cache and remote are lost it warns, and answers that nothing differs.
    status: dict[str, Any] = json.loads(_with_remote(project_root, "data", "status", "--not-in-remote", "--json"))
    return f"{DATA}/" not in status.get("not_in_remote", [])


def _with_remote(project_root: Path, *arguments: str) -> str:
    """`_dvc`, for what needs the remote."""
    try:
        return _dvc(project_root, *arguments)
    except DataError as error:
        raise RemoteError(str(error)) from None


def _dvc(project_root: Path, *arguments: str) -> str:
    """Run a DVC command that waits for other DVC commands to finish; its standard output."""
    if not (project_root / ".dvc").is_dir():
        raise DataError(
            f"{project_root} has no .dvc folder: a project is a git repository with DVC set up. Run there: git init && "
            "dvc init"
        )
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        cwd=project_root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        stdin=subprocess.DEVNULL,  # no questions: what would ask, fails
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise DataError(f"dvc {' '.join(arguments)}: {_problem(done.stderr)}")
    return done.stdout


def _problem(stderr: str) -> str:
    """DVC's own error, on one line, without its invitation to the support forum."""
    error = stderr.rpartition("ERROR: ")[2].partition("Having any troubles?")[0]
    return " ".join(error.split()) or "failed without a message"
