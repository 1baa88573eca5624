"""Building `data/<name>` aside and swapping it in, so that a kill at any moment leaves the old or the new state.

Everything temporary lives in `.atelier/tmp`: DVC never sees it, and a rename from there is atomic as long as `.atelier`
and `data` are on one filesystem.
"""

from __future__ import annotations

import fcntl
import filecmp
import os
import shutil
from collections.abc import Iterator
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
    """An empty `.atelier/tmp/<name>`, gone afterwards; the caller holds a lock, so leftovers are a killed run's."""
    folder = staging_folder(project_root) / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def building(project_root: Path, name: str) -> Iterator[Path]:
    """Hold the dataset's lock and give an empty folder to build `data/<name>` in; it is gone afterwards."""
    with locked(project_root, f"data-{name}"):
        _put_back(project_root, name)
        with scratch_folder(project_root, f"data-{name}.new") as new:
            yield new


def swap_in(project_root: Path, name: str, new: Path) -> bool:
    """Replace `data/<name>` by the folder `new` unless they are equal; True if it was replaced.

    To be called inside `building`. Nothing on disk is changed in place, so an open memory map of the old version stays
    valid.
    """
    target, old = project_root / "data" / name, _old(project_root, name)
    if target.is_dir() and _equal(target, new):
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
    """Finish what a killed `swap_in` left; every reader calls it first. A sound project is not written to."""
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


def _equal(first: Path, second: Path) -> bool:
    names = sorted(path.name for path in first.iterdir())
    if names != sorted(path.name for path in second.iterdir()):
        return False
    _, different, unreadable = filecmp.cmpfiles(first, second, names, shallow=False)
    return not different and not unreadable


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
