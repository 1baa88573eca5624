"""What in `data/` is Atelier's to replace: only what it wrote. All else there is somebody's."""

from __future__ import annotations

import re
from pathlib import Path

from atelier.data.store import LOCAL_NOTES
from atelier.errors import DataError
from atelier.params import Dataset, Source

WRITTEN = frozenset({"dataset.json", "manifest.csv", *LOCAL_NOTES})
SHARD = re.compile(r"shard-\d{5,}\.bin")
NOBODYS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # left by looking at a folder
SHOWN = 3  # files that a message names


def refuse_originals(project_root: Path, name: str, dataset: Dataset) -> None:
    """Stop an ingest that would read from, or write over, what isn't Atelier's; to be called first.

    Raises:
        DataError: if a source lies in `data/` or has it inside, or `data/<name>` holds other files.
    """
    for source in dataset.sources:
        _refuse_source(project_root, name, source)
    refuse_foreign_files(project_root / "data" / name)


def refuse_foreign_files(folder: Path) -> None:
    """Stop before a stored dataset's folder is replaced, if it holds anything of somebody's.

    Raises:
        DataError: naming it.
    """
    if not folder.is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir() if not _is_written(path))
    if foreign:
        names = ", ".join(map(repr, foreign[:SHOWN]))
        more = ", ..." if len(foreign) > SHOWN else ""
        raise DataError(
            f"{folder} holds what Atelier did not write, and an ingest would replace the folder: "
            f"{names}{more} ({len(foreign)} in all). Nothing was changed. "
            "Move it out of data/, to raw/ for instance, "
            "and name that folder in params.yaml if it holds the originals."
        )


def _is_written(path: Path) -> bool:
    has_our_name = path.name in WRITTEN | NOBODYS or SHARD.fullmatch(path.name) is not None
    return has_our_name and path.is_file()


def _refuse_source(project_root: Path, name: str, source: Source) -> None:
    if source.path is None or "://" in source.path:
        return
    data = project_root / "data"
    place = (project_root / source.path).resolve()
    what = f"datasets.{name}: the source {source.path!r}"
    if _is_inside(place, data):
        raise DataError(
            f"{what} lies in data/, which holds what Atelier stores and is replaced by an ingest. "
            "Nothing was changed. "
            "Move the originals to another folder, such as raw/, and name that."
        )
    if place.is_dir() and _is_inside(data.resolve(), place):
        raise DataError(
            f"{what} has data/ inside, so an ingest would read what it wrote. "
            "Nothing was changed. Name a folder that holds the originals only, such as raw/."
        )


def _is_inside(place: Path, folder: Path) -> bool:
    """Whether a resolved path is a folder or below it, also where the file system folds case."""
    above = [place, *place.parents]
    if folder.exists():
        return any(path.exists() and path.samefile(folder) for path in above)
    return folder.resolve() in above
