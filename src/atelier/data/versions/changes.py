"""What differs between two versions of `data/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from atelier.data.manifest import NO_LABEL
from atelier.data.splits import SPLITS
from atelier.data.versions.history import Snapshot

NO_CLASS = ""  # a picture outside of every class


class Entry(NamedTuple):
    """An image of a version.

    Classes are compared by name, since their numbers shift when one appears.
    """

    sha256: str
    split: str
    class_name: str  # NO_CLASS: none


@dataclass(frozen=True)
class Changes:
    """What became of one dataset; an image is its pixels, so that another size is another image."""

    name: str
    state: Literal["new", "gone", "changed", "same"]
    params: dict[str, tuple[Any, Any]]  # before, after; of a dataset that was there before
    added: list[Entry]
    removed: list[Entry]
    relabelled: list[tuple[Entry, Entry]]
    moved: list[tuple[Entry, Entry]]  # to another split

    def as_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "name": self.name,
            "state": self.state,
            "params": {
                key: {"before": before, "after": after}
                for key, (before, after) in self.params.items()
            },
            "counts": {"added": counts(self.added), "removed": counts(self.removed)},
            "added": [entry._asdict() for entry in self.added],
            "removed": [entry._asdict() for entry in self.removed],
            "relabelled": [
                {
                    "sha256": old.sha256,
                    "split": new.split,
                    "before": old.class_name,
                    "after": new.class_name,
                }
                for old, new in self.relabelled
            ],
            "moved": [
                {
                    "sha256": old.sha256,
                    "class_name": new.class_name,
                    "before": old.split,
                    "after": new.split,
                }
                for old, new in self.moved
            ],
        }


def compare(before: Snapshot, after: Snapshot) -> list[Changes]:
    """All datasets that either version has, by name; pixels are not read.

    Raises:
        DataError: if one of them is damaged, or lost.
        RemoteError: if the remote is needed and can't be reached.
    """
    names = sorted({*before.names, *after.names})
    return [_compare(name, before, after) for name in names]


def entries(snapshot: Snapshot, name: str) -> list[Entry]:
    """The images of a dataset, in the order of its manifest."""
    manifest, class_names = snapshot.manifest(name), snapshot.description(name)["class_names"]
    labels = (
        NO_CLASS if label == NO_LABEL else class_names[label] for label in manifest.labels.tolist()
    )
    return list(map(Entry, manifest.sha256, manifest.splits, labels))


def counts(images: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """How many images by class and split: {class: {split: number}}."""
    found = Counter((entry.class_name, entry.split) for entry in images)
    classes = sorted({class_name for class_name, _ in found})
    return {
        name: {split: found[name, split] for split in SPLITS if found[name, split]}
        for name in classes
    }


def _compare(name: str, before: Snapshot, after: Snapshot) -> Changes:
    here, there = name in before.names, name in after.names
    old = {entry.sha256: entry for entry in entries(before, name)} if here else {}
    new = {entry.sha256: entry for entry in entries(after, name)} if there else {}
    both = [(old[sha256], entry) for sha256, entry in new.items() if sha256 in old]
    params = (
        _differing(before.description(name)["params"], after.description(name)["params"])
        if here and there
        else {}
    )
    changed = params or old != new
    return Changes(
        name,
        "new" if not here else "gone" if not there else "changed" if changed else "same",
        params,
        [entry for sha256, entry in new.items() if sha256 not in old],
        [entry for sha256, entry in old.items() if sha256 not in new],
        [(was, now) for was, now in both if was.class_name != now.class_name],
        [(was, now) for was, now in both if was.split != now.split],
    )


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        key: (old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    }
