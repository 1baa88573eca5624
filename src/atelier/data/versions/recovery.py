"""A version of `data/` for a project that was taken out of the past, byte by byte what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from atelier.data.versions import objects
from atelier.data.versions.dvc import DATA, DATA_DVC
from atelier.errors import DataError, LostError

CHUNK = 2**20  # bytes that are read at a time


def explain_loss(project_root: Path, md5: str) -> str:
    """Why a version of `data/` can't be had again.

    Empty if cache and remote hold all of it between them.

    Args:
        project_root: the project's folder.
        md5: 32 hexadecimal digits and `.dir`.
    """
    try:
        wanted = set(objects.listing(project_root, md5).values())
        places = objects.places_in_cache(project_root, wanted)
        absent = {file_md5 for file_md5, path in places.items() if not path.is_file()}
        gone = objects.not_in_remote(project_root, absent) if absent else set()
        if gone:
            count = f"{len(gone)} of its files (md5 {min(gone)}, ...)"
            return f"neither DVC's cache nor its remote has {count}"
    except LostError:
        return "neither DVC's cache nor its remote has the list of its files"
    except DataError as error:
        return str(error)
    return ""


def put_version(project_root: Path, md5: str, folder: Path) -> None:
    """Write `data/` and `data.dvc` of a version into another folder.

    Each file is hashed on the way.

    Args:
        project_root: the project whose cache and remote hold the version.
        md5: 32 hexadecimal digits and `.dir`.
        folder: that gets them; has no `data/` yet.

    Raises:
        DataError: if a file is not, byte by byte, what it was when the version was tracked; or is
            lost.
        RemoteError: if the remote is needed and can't be reached.
    """
    files = objects.listing(project_root, md5)
    objects.fetch(project_root, files.values())
    places = objects.places_in_cache(project_root, [md5, *files.values()])
    if _copy(places[md5], None) == md5.removesuffix(".dir"):
        changed = _copy_files(md5, files, places, folder)
    else:  # the paths are anybody's
        changed = [f"the list of files, {places[md5]}"]
    if changed:
        raise DataError(
            f"version {md5} of {DATA}/ is not what it was. Changed since it was tracked: "
            f"{'; '.join(changed)}. Delete these files of DVC's cache, and they are fetched from "
            "the remote again."
        )
    (folder / DATA_DVC).write_text(
        f"outs:\n- md5: {md5}\n  hash: md5\n  path: {DATA}\n", encoding="utf-8"
    )


def _copy_files(
    md5: str, files: Mapping[str, str], places: Mapping[str, Path], folder: Path
) -> list[str]:
    """Copy the files of a version into a folder's `data/`; those that are not what they were."""
    changed = []
    for path, file_md5 in files.items():
        if ".." in PurePosixPath(path).parts or path.startswith("/"):
            raise DataError(
                f"version {md5} of {DATA}/ has a file {path!r}, which is not in it. It is not used."
            )
        if _copy(places[file_md5], folder / DATA / path) != file_md5:
            changed.append(f"{DATA}/{path}, {places[file_md5]}")
    return changed


def _copy(source: Path, target: Path | None) -> str:
    """Copy a file, if there is a place for it; returns its md5."""
    hashed = hashlib.md5(usedforsecurity=False)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as stream, (target or Path("/dev/null")).open("wb") as out:
        while chunk := stream.read(CHUNK):
            hashed.update(chunk)
            out.write(chunk)
    return hashed.hexdigest()
