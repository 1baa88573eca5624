"""The stored version that an ingest follows, and what of it stays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from atelier.data.ingest.writer import stored_params
from atelier.data.manifest import NO_LABEL
from atelier.data.sources.pictures import content_hash
from atelier.data.splits import Split
from atelier.data.store import StoredDataset, is_stored, open_version
from atelier.errors import DataError
from atelier.params import Dataset

# What the pixels of a stored image depend on besides the picture.
# When it changes, everything is written anew.
FORM = ("image_size", "channels", "fit")
# When one of them changes, new splits are what is asked for.
FRACTIONS = ("test_fraction", "validation_fraction")


def version_to_keep(project_root: Path, name: str, dataset: Dataset) -> StoredDataset | None:
    """The stored version, if its pixels have the form that is asked for.

    Then they are kept, not written again.
    """
    stored = _stored_version(project_root, name)
    if stored is None:
        return None
    params = stored_params(dataset)
    same_form = all(stored.params.get(key, params[key]) == params[key] for key in FORM)
    return stored if same_form else None


def classes_before(project_root: Path, name: str) -> Counter[str]:
    """How many pictures of each class the stored version has."""
    stored = _stored_version(project_root, name)
    if stored is None:
        return Counter()
    labels = [label for label in stored.manifest.labels.tolist() if label != NO_LABEL]
    return Counter(stored.info.class_names[label] for label in labels)


def intact_images(before: StoredDataset | None) -> set[str]:
    """Content hashes of the images whose stored pixels are what they should be.

    The others are written anew.
    """
    if before is None:
        return set()
    images = before.all_images()
    return {
        sha256
        for row, sha256 in enumerate(before.manifest.sha256)
        if content_hash(images[row]) == sha256
    }


def splits_to_keep(before: StoredDataset | None, dataset: Dataset) -> dict[str, Split]:
    """An image keeps its split for ever, unless other fractions are asked for."""
    if before is None or any(before.params[key] != getattr(dataset, key) for key in FRACTIONS):
        return {}
    return dict(zip(before.manifest.sha256, before.manifest.splits, strict=True))


def _stored_version(project_root: Path, name: str) -> StoredDataset | None:
    """The stored version; None if there is none, or it is damaged or of a newer format.

    Then all is written anew.
    """
    if not is_stored(project_root, name):
        return None
    try:
        return open_version(name, lambda file: project_root / "data" / name / file)
    except DataError:
        return None
