"""What looks odd about a dataset but is no reason to refuse a picture: warnings for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from atelier.data.ingest.records import Accepted
from atelier.data.sources.names import list_some
from atelier.data.sources.pictures import Candidate
from atelier.data.splits import SPLITS, Split

CONSTANT_STD = 1.0  # grey levels; what varies less shows nothing
IMBALANCE = 10  # the largest class of the training split against the smallest
# Mean brightness of the new pictures, against the stored ones': a shift of half a standard
# deviation between pictures ("medium" in Cohen 1988, Statistical power analysis, 2.2.3) that is
# also 4 standard errors wide: chance 1 in 16,000.
SHIFT = 0.5
STANDARD_ERRORS = 4.0
MANY = 20  # classes that a warning names


def oddities(
    accepted: Sequence[Accepted],
    stored: Container[str],
    stored_means: NDArray[np.floating],
) -> list[str]:
    """Warnings about the pictures that were accepted.

    Args:
        accepted: the pictures to store.
        stored: content hashes of the images of the stored version.
        stored_means: mean brightness in [0, 255] of each stored image; may be empty.
    """
    candidates = [picture.candidate for picture in accepted]
    new_means = [candidate.mean for candidate in candidates if candidate.sha256 not in stored]
    return [
        *_class_warnings(accepted),
        *_constant_warnings(candidates),
        *_drift_warnings(np.array(new_means), stored_means),
    ]


def lost_classes(before: Mapping[str, int], accepted: Sequence[Accepted]) -> list[str]:
    """Warnings about classes that have fewer pictures than in the stored version, or none.

    Args:
        before: pictures of each class of the stored version.
        accepted: the pictures to store.
    """
    now = Counter(picture.candidate.class_name for picture in accepted)
    gone = []
    fewer = []
    for name, count in sorted(before.items()):
        if not now[name]:
            gone.append(f"{name} ({count:,} pictures)")
        elif now[name] < count:
            fewer.append(f"{name} ({count:,} -> {now[name]:,})")
    warnings = []
    if gone:
        names = list_some(gone, MANY)
        warnings.append(f"{len(gone):,} classes of the version before are gone: {names}")
    if fewer:
        names = list_some(fewer, MANY)
        warnings.append(f"{len(fewer):,} classes have fewer pictures than before: {names}")
    return warnings


def _class_warnings(accepted: Sequence[Accepted]) -> list[str]:
    counts: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
    for picture in accepted:
        if picture.candidate.class_name:
            counts[picture.split][picture.candidate.class_name] += 1
    warnings = []
    unknown = sorted(counts["test"].keys() - counts["train"].keys())
    if unknown:
        numbers = list_some([f"{name} ({counts['test'][name]:,})" for name in unknown])
        warnings.append(
            f"{len(unknown):,} classes have test pictures but none to train on: {numbers}"
        )
    pictures = Counter(picture.split for picture in accepted)
    for split in ("validation", "test"):
        if counts["train"] and pictures[split] and not counts[split]:
            warnings.append(
                f"none of the {pictures[split]:,} {split} pictures has a class, but those of train "
                "have: no score by class can be computed on them. Were their labels kept back?"
            )
    return [*warnings, *_balance_warnings(counts["train"])]


def _balance_warnings(counts: Counter[str]) -> list[str]:
    train = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    if not train:
        return []
    largest, most = train[0]
    smallest, fewest = train[-1]
    if most <= IMBALANCE * fewest:
        return []
    sizes = f"{most:,} pictures of {largest}, {fewest:,} of {smallest}"
    return [f"unbalanced classes in train: {sizes}"]


def _constant_warnings(candidates: Sequence[Candidate]) -> list[str]:
    names = sorted(candidate.name for candidate in candidates if candidate.std < CONSTANT_STD)
    if not names:
        return []
    return [f"{len(names):,} pictures are of one colour, as good as: {list_some(names)}"]


def _drift_warnings(
    new_means: NDArray[np.floating], stored_means: NDArray[np.floating]
) -> list[str]:
    if not len(new_means) or len(stored_means) < 2:
        return []
    before = float(stored_means.mean())
    after = float(new_means.mean())
    spread = float(stored_means.std(ddof=1))
    chance = STANDARD_ERRORS * spread * sqrt(1 / len(new_means) + 1 / len(stored_means))
    if abs(after - before) <= max(SHIFT * spread, chance):
        return []
    return [
        f"the {len(new_means):,} new pictures have a mean brightness of {after:.1f}, the stored "
        f"ones {before:.1f} (their standard deviation: {spread:.1f}); was something else "
        "photographed, or scanned in another way?"
    ]
