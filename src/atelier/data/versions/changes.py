"""What differs between two versions of `data/`."""

from __future__ import annotations

from collections import Counter, defaultdict
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
            "params": {key: _change(*values) for key, values in self.params.items()},
            "counts": {"added": counts(self.added), "removed": counts(self.removed)},
            "added": [entry._asdict() for entry in self.added],
            "removed": [entry._asdict() for entry in self.removed],
            "relabelled": [
                {
                    "sha256": old.sha256,
                    "split": new.split,
                    **_change(old.class_name, new.class_name),
                }
                for old, new in self.relabelled
            ],
            "moved": [
                {
                    "sha256": old.sha256,
                    "class_name": new.class_name,
                    **_change(old.split, new.split),
                }
                for old, new in self.moved
            ],
        }


def _change(before: Any, after: Any) -> dict[str, Any]:
    return {"before": before, "after": after}


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
    manifest = snapshot.manifest(name)
    class_names = {NO_LABEL: NO_CLASS, **dict(enumerate(snapshot.description(name)["class_names"]))}
    labels = manifest.labels.tolist()
    columns = zip(manifest.sha256, manifest.splits, labels, strict=True)
    return [Entry(sha256, split, class_names[label]) for sha256, split, label in columns]


def counts(images: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """How many images by class and split: {class: {split: number}}."""
    numbers: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in images:
        numbers[entry.class_name][entry.split] += 1
    return {name: _in_order_of_splits(numbers[name]) for name in sorted(numbers)}


def _in_order_of_splits(numbers: Counter[str]) -> dict[str, int]:
    return {split: numbers[split] for split in SPLITS if numbers[split]}


def _compare(name: str, before: Snapshot, after: Snapshot) -> Changes:
    old = _entries_by_hash(before, name)
    new = _entries_by_hash(after, name)
    kept = [(old[sha256], entry) for sha256, entry in new.items() if sha256 in old]
    params = {}
    state: Literal["new", "gone", "changed", "same"]
    if name not in before.names:
        state = "new"
    elif name not in after.names:
        state = "gone"
    else:
        before_params = before.description(name)["params"]
        params = _changed_values(before_params, after.description(name)["params"])
        state = "changed" if params or old != new else "same"
    return Changes(
        name=name,
        state=state,
        params=params,
        added=[entry for sha256, entry in new.items() if sha256 not in old],
        removed=[entry for sha256, entry in old.items() if sha256 not in new],
        relabelled=[(was, now) for was, now in kept if was.class_name != now.class_name],
        moved=[(was, now) for was, now in kept if was.split != now.split],
    )


def _entries_by_hash(snapshot: Snapshot, name: str) -> dict[str, Entry]:
    if name not in snapshot.names:
        return {}
    return {entry.sha256: entry for entry in entries(snapshot, name)}


def _changed_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {key: (old.get(key), new.get(key)) for key in sorted({*old, *new})}
    return {key: (before, after) for key, (before, after) in pairs.items() if before != after}
