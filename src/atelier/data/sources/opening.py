"""The sources that a dataset can be read from, and the identity of what a source holds now."""

from __future__ import annotations

from pathlib import Path

from atelier.data.sources import archive, fashion_mnist, folder, idx_source, parquet
from atelier.data.sources.pictures import OpenedSource
from atelier.params import Source

OPEN = {
    "fashion-mnist": fashion_mnist.open_source,
    "folder": folder.open_source,
    "archive": archive.open_source,
    "idx": idx_source.open_source,
    "parquet": parquet.open_source,
}
DIGEST = {
    "fashion-mnist": fashion_mnist.source_digest,
    "folder": folder.source_digest,
    "archive": archive.source_digest,
    "idx": idx_source.source_digest,
    "parquet": parquet.source_digest,
}


def open_source(project_root: Path, source: Source) -> OpenedSource:
    """Open a source.

    Its pictures are read while `items` is iterated, which may raise the same errors.

    Raises:
        DataError: if it can't be found, fetched or trusted.
    """
    return OPEN[source.source](project_root, source)


def source_digest(project_root: Path, source: Source) -> str:
    """Identity of what the source holds now: equal digests mean equal pictures, classes and splits.

    Raises:
        DataError: if it can't be found or read.
    """
    return DIGEST[source.source](project_root, source)


def source_names(project_root: Path, source: Source) -> set[str] | None:
    """Names of all files that a folder holds now.

    None for the other sources, which come as editions.

    Raises:
        DataError: if a folder can't be found or listed.
    """
    if source.source != "folder":
        return None
    return set(folder.file_names(project_root / str(source.path)))
