"""The sources that a dataset can be read from, and the identity of what a source holds now."""

from __future__ import annotations

from pathlib import Path

from atelier.data import fashion_mnist, folder
from atelier.data.pictures import Source
from atelier.params import Dataset


def open_source(project_root: Path, dataset: Dataset) -> Source:
    """Open the dataset's source; pictures are decoded while `items` is iterated.

    Raises:
        DataError: if the source can't be found, fetched or trusted.
    """
    if dataset.source == "fashion-mnist":
        return fashion_mnist.open_source(project_root, dataset)
    return folder.open_source(folder.folder_of(project_root, dataset), dataset)


def source_digest(project_root: Path, dataset: Dataset) -> str:
    """Identity of what the source holds now: equal digests mean equal pictures, names and classes.

    Raises:
        DataError: if a folder can't be found or listed.
    """
    if dataset.source == "fashion-mnist":
        return fashion_mnist.source_digest()
    return folder.source_digest(folder.folder_of(project_root, dataset))


def source_names(project_root: Path, dataset: Dataset) -> set[str] | None:
    """Names of all files that the source holds now; None where they never change.

    Raises:
        DataError: if a folder can't be found or listed.
    """
    if dataset.source == "fashion-mnist":
        return None
    return set(folder.file_names(folder.folder_of(project_root, dataset)))
