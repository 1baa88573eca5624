"""Building `data/<name>` aside and swapping it in: a kill leaves the old or the new state.

Everything temporary lives in `.atelier/tmp`: DVC never sees it, and a rename from there is atomic
as long as `.atelier` and `data` are on one filesystem.
"""

from __future__ import annotations

import fcntl
import filecmp
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


def staging_folder(project_root: Path) -> Path:
    """`.atelier/tmp`, made if it is not there."""
    folder = project_root / ".atelier" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(project_root: Path, name: str) -> Iterator[None]:
    """Wait for, and hold, the lock `name`; the system frees it when a process is killed."""
    with (staging_folder(project_root) / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch_folder(project_root: Path, name: str) -> Iterator[Path]:
    """An empty `.atelier/tmp/<name>`, gone afterwards.

    The caller holds a lock, so leftovers are a killed run's.
    """
    folder = staging_folder(project_root) / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def building(project_root: Path, name: str) -> Iterator[Path]:
    """Hold the dataset's lock and give an empty folder to build `data/<name>` in.

    It is gone afterwards.
    """
    with locked(project_root, f"data-{name}"):
        _put_back(project_root, name)
        with scratch_folder(project_root, f"data-{name}.new") as new:
            yield new


def swap_in(project_root: Path, name: str, new: Path, notes: Collection[str] = ()) -> bool:
    """Replace `data/<name>` by the folder `new` unless they are equal; True if it was replaced.

    To be called inside `building`. Nothing on disk is changed in place, so an open memory map of
    the old version stays valid. Files named in `notes` are brought up to date, but make no
    difference.
    """
    target, old = project_root / "data" / name, _old(project_root, name)
    if target.is_dir() and _equal(target, new, notes):
        for note in notes:
            if not (new / note).exists():
                (target / note).unlink(missing_ok=True)
            elif not _same(target / note, new / note):
                os.replace(new / note, target / note)
        return False
    for path in (*new.iterdir(), new):
        _fsync(path)
    target.parent.mkdir(exist_ok=True)
    if target.is_dir():
        target.rename(old)
    new.rename(target)  # killed just before this line, `repair` puts the old version back
    _fsync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
    return True


def repair(project_root: Path, name: str) -> None:
    """Finish what a killed `swap_in` left; every reader calls it first.

    A sound project is not written to.
    """
    if _old(project_root, name).exists():
        with locked(project_root, f"data-{name}"):
            _put_back(project_root, name)


def _put_back(project_root: Path, name: str) -> None:
    target, old = project_root / "data" / name, _old(project_root, name)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _old(project_root: Path, name: str) -> Path:
    return project_root / ".atelier" / "tmp" / f"data-{name}.old"


def _equal(first: Path, second: Path, notes: Collection[str]) -> bool:
    names, others = (
        {path.name for path in folder.iterdir()} - set(notes) for folder in (first, second)
    )
    return names == others and all(_same(first / name, second / name) for name in names)


def _same(first: Path, second: Path) -> bool:
    if not (first.is_file() and second.is_file()):
        return False
    return first.samefile(second) or filecmp.cmp(
        first, second, shallow=False
    )  # kept shards are links of each other


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
