"""DVC's objects, files called by their md5: in the cache on this machine, and in the remote.

By DVC's Python interface.
`dvc push` takes a remote that has the list of files for one that has the files, and answers
"Everything is up to date" (DVC 3.67); here the remote is asked for each object.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atelier.errors import DataError, LostError, RemoteError


def check_repository(project_root: Path) -> None:
    """A project is a git repository with DVC set up.

    Raises:
        DataError: if it is not.
    """
    if not (project_root / ".dvc").is_dir():
        raise DataError(
            f"{project_root} has no .dvc folder: a project is a git repository with DVC set up. "
            "Run there: atelier init"
        )


def places_in_cache(project_root: Path, md5s: Iterable[str]) -> dict[str, Path]:
    """Where DVC's cache has, or would have, each object."""
    with _repository(project_root) as repository:
        return {md5: Path(repository.cache.local.oid_to_path(md5)) for md5 in md5s}


def listings_in_cache(project_root: Path) -> list[str]:
    """The versions of folders that the cache knows: md5s that end in `.dir`."""
    with _repository(project_root) as repository:
        paths = Path(repository.cache.local.path).glob("??/*.dir")
        return sorted(f"{path.parent.name}{path.name}" for path in paths)


def listing(project_root: Path, md5: str) -> dict[str, str]:
    """The files of a version of `data/`, by path, with the md5 of each.

    Raises:
        LostError: if neither cache nor remote has the version.
        RemoteError: if the remote can't be reached.
    """
    fetch(project_root, [md5])
    entries = json.loads(places_in_cache(project_root, [md5])[md5].read_text(encoding="utf-8"))
    return {entry["relpath"]: entry["md5"] for entry in entries}


def fetch(project_root: Path, md5s: Collection[str]) -> None:
    """Copy objects from the remote into the cache, those that it has not yet.

    Where some are lost, all others are copied.

    Raises:
        LostError: if neither has an object.
        RemoteError: if the remote can't be reached.
    """
    with _repository(project_root) as repository:
        cache = repository.cache.local
        wanted = [md5 for md5 in md5s if not Path(cache.oid_to_path(md5)).is_file()]
        if wanted:
            with _remote(repository) as remote:
                _transfer(remote, cache, wanted)


def send(project_root: Path, md5s: Collection[str]) -> None:
    """Copy objects from the cache to the remote, those that it has not; lists of files last.

    Raises:
        LostError: if neither has an object.
        RemoteError: if the remote can't be reached, or refuses.
    """
    with _repository(project_root) as repository, _remote(repository) as remote:
        _transfer(repository.cache.local, remote, md5s)


def not_in_remote(project_root: Path, md5s: Collection[str]) -> set[str]:
    """Which objects the remote has not.

    Raises:
        RemoteError: if it can't be reached.
    """
    with _repository(project_root) as repository, _remote(repository) as remote:
        return set(md5s) - set(remote.oids_exist(list(md5s)))


def _transfer(source: Any, target: Any, md5s: Collection[str]) -> None:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.transfer import transfer

    lost: list[str] = []

    def note_missing(status: Any) -> None:
        lost.extend(sorted(info.value for info in status.missing))

    # Without an index of what the remote had, so that the remote itself is asked.
    hashes = [HashInfo("md5", md5) for md5 in md5s]
    result = transfer(source, target, hashes, validate_status=note_missing)
    if result.failed:
        raise RemoteError(
            f"{len(result.failed)} of {len(md5s)} files of data/ can't be copied to {target.path}."
        )
    if lost:
        more = ", ..." if len(lost) > 3 else ""
        raise LostError(
            f"a version of data/ lacks {len(lost)} of its files: "
            f"neither DVC's cache nor its remote has them (md5 {', '.join(lost[:3])}{more}). "
            "Run `dvc push` on a machine that does."
        )


@contextmanager
def _repository(project_root: Path) -> Iterator[Any]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    check_repository(project_root)
    try:
        with Repo(str(project_root)) as repository:
            yield repository
    except DvcException as error:  # its configuration can't be read
        raise DataError(f"DVC in {project_root}: {error}") from None


@contextmanager
def _remote(repository: Any) -> Iterator[Any]:
    """The default remote.

    Raises:
        RemoteError: if there is none, or it can't be reached.
    """
    try:
        yield repository.cloud.get_remote_odb()
    except DataError:
        raise
    except Exception as error:  # each kind of remote has exceptions of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RemoteError(f"DVC's remote can't be used: {reason}. See `dvc remote list`.") from None
