"""Which version `data/` is, and where its bytes are kept: `data.dvc`, DVC's cache and remote."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from atelier.data.store import LOCAL_NOTES, is_stored
from atelier.data.versions import conflicts, objects
from atelier.data.versions.pointer import version_in, write_data_dvc
from atelier.errors import DataError, LostError

DATA = "data"
DATA_DVC = "data.dvc"
IGNORED = tuple(f"/{DATA}/*/{note}" for note in LOCAL_NOTES)  # lines of .dvcignore


def track(project_root: Path) -> str:
    """Make `data.dvc` name what `data/` holds (`dvc add`).

    Where nothing changed, the file stays as it is.

    Returns:
        The version, as `data_md5` does.

    Raises:
        DataError: if there is no `data/`, the project is not a git repository with DVC set up, or
            DVC left a file out; then `data.dvc` is as before.
    """
    if not (project_root / DATA).is_dir():
        raise DataError(
            f"{project_root / DATA} does not exist, so there is nothing to track. "
            "Run `atelier run`."
        )
    objects.check_repository(project_root)
    _ignore_local_notes(project_root)
    path = project_root / DATA_DVC
    before = path.read_bytes() if path.exists() else None
    _dvc(project_root, "add", DATA)
    md5 = data_md5(project_root)
    assert md5 is not None  # dvc add wrote the file
    left_out = _files_left_out(project_root, md5)
    if left_out:
        _put_back(path, before)
        names = ", ".join(f"{DATA}/{name}" for name in left_out[:3])
        raise DataError(
            f"DVC leaves {len(left_out)} files of {DATA}/ out of its version: {names}. "
            f"A pattern in {project_root / '.dvcignore'} fits them. "
            f"Remove it, then run again; {DATA_DVC} is as before."
        )
    return md5


def push(project_root: Path) -> None:
    """Make sure that the remote holds every file of the version that `data.dvc` names.

    Only what it lacks is sent.

    Raises:
        DataError: if `data/` is not the version that `data.dvc` names.
        RemoteError: if the remote can't be reached.
    """
    md5 = data_md5(project_root)
    if md5 is None or not is_clean(project_root):
        raise DataError(
            f"{DATA}/ is not the version that {DATA_DVC} names, so it can't be pushed. "
            "Track it first."
        )
    objects.send(project_root, [md5, *objects.listing(project_root, md5).values()])


def restore_if_missing(project_root: Path) -> bool:
    """On a fresh clone, make `data/` the version that `data.dvc` names.

    It comes from the cache or the remote.
    Also where files are missing because an earlier call was killed.

    Returns:
        True if `data/` was restored; False if there was nothing to do, or neither cache nor remote
        has that version.

    Raises:
        DataError: if `data/` can't be written.
        RemoteError: if the remote is needed and can't be reached.
    """
    md5 = data_md5(project_root)
    if md5 is None:
        return False
    here = set(_files(project_root))
    if here and not objects.places_in_cache(project_root, [md5])[md5].is_file():
        return False  # what was killed had fetched it
    try:
        files = objects.listing(project_root, md5)
        if here and not _is_half(here, set(files)):
            return False
        objects.fetch(project_root, files.values())
    except LostError:
        return False
    if here:
        _refuse_losses(project_root)
    _dvc(project_root, "checkout", "--force", DATA_DVC)
    return True


def checkout(project_root: Path, md5: str) -> bool:
    """Make `data/` and `data.dvc` another version; killed in between, it can be called again.

    Args:
        project_root: the project's folder.
        md5: 32 hexadecimal digits and `.dir`.

    Returns:
        Whether anything was changed.

    Raises:
        DataError: if `data/` holds files that no version has, or the version is lost.
        RemoteError: if the remote is needed and can't be reached.
    """
    if data_md5(project_root) == md5 and is_clean(project_root):
        return False
    files = objects.listing(project_root, md5)
    for name in {path.split("/")[0] for path in files}:
        is_stored(project_root, name)  # finishes what a killed ingest left
    objects.fetch(project_root, files.values())
    _refuse_losses(project_root)
    places = objects.places_in_cache(project_root, files.values())
    size = sum(places[file_md5].stat().st_size for file_md5 in files.values())
    _remove_local_notes(project_root)
    write_data_dvc(project_root / DATA_DVC, md5, size, len(files))
    _dvc(project_root, "checkout", "--force", DATA_DVC)
    return True


def _remove_local_notes(project_root: Path) -> None:
    """They describe what is replaced."""
    for note in LOCAL_NOTES:
        for path in (project_root / DATA).glob(f"*/{note}"):
            path.unlink()


def data_md5(project_root: Path) -> str | None:
    """The version that `data.dvc` names: 32 hexadecimal digits and `.dir`.

    None if nothing was tracked yet.

    Raises:
        DataError: if `data.dvc` can't be understood.
    """
    path = project_root / DATA_DVC
    try:
        return version_in(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        advice = conflicts.way_out(project_root, DATA_DVC)
        raise DataError(f"{path} is not a file that DVC wrote{advice}") from None


def is_clean(project_root: Path) -> bool:
    """Whether `data/` and the cache hold the version that `data.dvc` names.

    Raises:
        DataError: if the project is not a git repository with DVC set up.
    """
    if data_md5(project_root) is None:
        return False
    return not json.loads(_dvc(project_root, "status", "--json", DATA_DVC))


def in_remote(project_root: Path, md5: str | None = None) -> bool:
    """Whether the remote holds every file of a version, by default of that which `data.dvc` names.

    A version that lacks files which it should have is not there, whatever the remote holds.

    Raises:
        RemoteError: if the remote can't be reached.
    """
    md5 = data_md5(project_root) if md5 is None else md5
    if not md5:
        return False
    try:
        files = objects.listing(project_root, md5)
    except LostError:
        return False
    if not _is_whole(files) or _leaves_out(project_root, md5):
        return False
    return not objects.not_in_remote(project_root, {md5, *files.values()})


def _files(project_root: Path) -> list[str]:
    """Paths in `data/` that a version may have."""
    folder = project_root / DATA
    files = (path for path in folder.rglob("*") if path.is_file() and not _is_leftover(path))
    return [path.relative_to(folder).as_posix() for path in files if path.name not in LOCAL_NOTES]


def _files_left_out(project_root: Path, md5: str) -> list[str]:
    """Files of `data/` that a version of it lacks."""
    return sorted(set(_files(project_root)) - set(objects.listing(project_root, md5)))


def _leaves_out(project_root: Path, md5: str) -> bool:
    """Whether DVC takes `data/` for this version although it lacks some of the files."""
    current = md5 == data_md5(project_root)
    return current and bool(_files_left_out(project_root, md5)) and is_clean(project_root)


def _is_whole(files: Iterable[str]) -> bool:
    """Whether each dataset of a version has what no dataset is without."""
    folders: dict[str, set[str]] = {}
    for path in files:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, set()).add(name)
    return all(
        {"dataset.json", "manifest.csv"} <= names for folder, names in folders.items() if folder
    )


def _put_back(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink()
    else:
        path.write_bytes(before)


def _is_half(here: set[str], files: set[str]) -> bool:
    """Whether a dataset's folder has some of its files.

    One that is gone altogether was removed on purpose.
    """
    incomplete = {path.split("/")[0] for path in files - here}
    return here <= files and any(path.split("/")[0] in incomplete for path in here)


def _is_leftover(path: Path) -> bool:
    """Whether DVC was killed while it wrote this file."""
    return path.name.endswith(".tmp") or path.stat().st_size == 0


def _refuse_losses(project_root: Path) -> None:
    """Whatever `dvc checkout --force` would overwrite must be in the cache."""
    status = json.loads(_dvc(project_root, "data", "status", "--granular", "--json"))
    changed = status.get("uncommitted", {})
    paths = [renaming["new"] for renaming in changed.get("renamed", [])]
    # unknown: the cache lacks the list of files of this version.
    for kind in ("added", "modified", "unknown"):
        paths += changed.get(kind, [])
    for path in map(project_root.joinpath, paths):
        if not path.is_file() or _is_leftover(path):
            continue
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if not objects.places_in_cache(project_root, [md5])[md5].is_file():
            raise DataError(
                f"{path} is in no version of {DATA}/, so a checkout would lose it. "
                "Run `atelier ingest`, which makes a version of it, "
                f"or `dvc checkout --force {DATA_DVC}`, which throws it away."
            )


def _ignore_local_notes(project_root: Path) -> None:
    path = project_root / ".dvcignore"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in IGNORED if line not in text.splitlines()]
    if missing:
        path.write_text("\n".join([*text.splitlines(), *missing]) + "\n", encoding="utf-8")


def _dvc(project_root: Path, *arguments: str) -> str:
    """Run a DVC command that waits for other DVC commands to finish; its standard output."""
    objects.check_repository(project_root)
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
