"""sha256 of files, remembered by size and times: unchanged files are not read again."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

# A file that was changed this shortly before it was read may change again without a new time: its
# sum is not remembered. Git's answer to the same problem: https://git-scm.com/docs/racy-git. FAT's
# times have steps of 2 s.
UNSETTLED_NS = 2_000_000_000


class _Look(NamedTuple):
    """What tells a changed file from an unchanged one.

    `ctime` also sees an edit that put the old mtime back.
    """

    size: int
    mtime_ns: int
    ctime_ns: int


def file_sum(project_root: Path, path: Path) -> str | None:
    """sha256 of one file; None if it is none, or can't be read."""
    return file_sums(project_root, path, [""])[""]


def file_sums(project_root: Path, root: Path, names: Sequence[str]) -> dict[str, str | None]:
    """sha256 of the files `root/name`, by name; None for what is no regular file or can't be read.

    What was found is kept in `.atelier/sources/sums-*.json`, one file for each root.
    A damaged table is ignored, and one that can't be written costs only time.
    """
    key = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    table = project_root / ".atelier" / "sources" / f"sums-{key}.json"
    table_before = _load(table)
    looks = {name: _look(root / name) for name in names}
    sums = {name: _known_sum(table_before.get(name), look) for name, look in looks.items()}
    unknown = [name for name in names if looks[name] is not None and sums[name] is None]
    started_ns = time.time_ns()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets other threads run
        sums |= zip(unknown, pool.map(lambda name: _sha256(root / name), unknown), strict=True)
    settled = {}
    for name, look in looks.items():
        sha256 = sums[name]
        if look is None or sha256 is None:
            continue
        unsettled = started_ns - max(look.mtime_ns, look.ctime_ns) < UNSETTLED_NS
        if name not in unknown or not unsettled:
            settled[name] = (look, sha256)
    if settled != table_before:
        _save(table, settled)
    return sums


def _known_sum(entry: tuple[_Look, str] | None, look: _Look | None) -> str | None:
    """The sum that a table has of a file, if the file looks as it did then."""
    if entry is None or look is None:
        return None
    known_look, sha256 = entry
    return sha256 if known_look == look else None


def _look(path: Path) -> _Look | None:
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return _Look(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _load(table: Path) -> dict[str, tuple[_Look, str]]:
    try:
        rows = json.loads(table.read_bytes())
        return {
            name: (_Look(size, mtime, ctime), sha256)
            for name, (size, mtime, ctime, sha256) in rows.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):  # not there, or not what `_save` wrote
        return {}


def _save(table: Path, settled: dict[str, tuple[_Look, str]]) -> None:
    new = table.with_name(f"{table.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        rows = {name: [*look, sha256] for name, (look, sha256) in settled.items()}
        new.write_text(json.dumps(rows))
        new.replace(table)
    except OSError:  # a full disk, or a project that may only be read
        new.unlink(missing_ok=True)
