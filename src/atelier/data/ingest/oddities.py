"""What looks odd about a dataset but is no reason to refuse a picture: warnings for people, with numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from atelier.data.sources.names import listed
from atelier.data.sources.pictures import Candidate
from atelier.data.splits import Split

CONSTANT_STD = 1.0  # grey levels; what varies less shows nothing
IMBALANCE = 10  # the largest class of the training split against the smallest
# Mean brightness of the new pictures, against the stored ones': a shift of half a standard deviation between pictures
# ("medium" in Cohen 1988, Statistical power analysis, 2.2.3) that is also 4 standard errors wide: chance 1 in 16,000.
SHIFT = 0.5
STANDARD_ERRORS = 4.0
MANY = 20  # classes that a warning names


def oddities(
    accepted: Sequence[tuple[Candidate, Split]],
    stored: Container[str],
    stored_means: NDArray[np.floating],
) -> list[str]:
    """Warnings about the pictures that were accepted.

    Args:
        accepted: candidates and their splits.
        stored: content hashes of the images of the stored version.
        stored_means: mean brightness, in [0, 255], of each image of the stored version; may be empty.
    """
    new_means = np.array(
        [candidate.mean for candidate, _ in accepted if candidate.sha256 not in stored]
    )
    return [
        *_classes(accepted),
        *_constant([candidate for candidate, _ in accepted]),
        *_drift(new_means, stored_means),
    ]


def lost_classes(
    before: Mapping[str, int], accepted: Sequence[tuple[Candidate, Split]]
) -> list[str]:
    """Warnings about classes that have fewer pictures than in the stored version, or none.

    Args:
        before: pictures of each class of the stored version.
        accepted: candidates and their splits.
    """
    now = Counter(candidate.class_name for candidate, _ in accepted)
    gone = [
        f"{name} ({count:,} pictures)" for name, count in sorted(before.items()) if not now[name]
    ]
    fewer = [
        f"{name} ({count:,} -> {now[name]:,})"
        for name, count in sorted(before.items())
        if 0 < now[name] < count
    ]
    warnings = (
        [f"{len(gone):,} classes of the version before are gone: {listed(gone, MANY)}"]
        if gone
        else []
    )
    return warnings + (
        [f"{len(fewer):,} classes have fewer pictures than before: {listed(fewer, MANY)}"]
        if fewer
        else []
    )


def _classes(accepted: Sequence[tuple[Candidate, Split]]) -> list[str]:
    counts: dict[Split, Counter[str]] = {
        "train": Counter(),
        "validation": Counter(),
        "test": Counter(),
    }
    for candidate, split in accepted:
        if candidate.class_name:
            counts[split][candidate.class_name] += 1
    warnings = []
    if unknown := sorted(counts["test"].keys() - counts["train"].keys()):
        numbers = listed([f"{name} ({counts['test'][name]:,})" for name in unknown])
        warnings.append(
            f"{len(unknown):,} classes have test pictures but none to train on: {numbers}"
        )
    pictures = Counter(split for _, split in accepted)
    for split in ("validation", "test"):
        if counts["train"] and pictures[split] and not counts[split]:
            warnings.append(
                f"none of the {pictures[split]:,} {split} pictures has a class, but those of train have: no score by "
                "class can be computed on them. Were their labels kept back?"
            )
    if train := sorted(counts["train"].items(), key=lambda item: (-item[1], item[0])):
        (largest, most), (smallest, fewest) = train[0], train[-1]
        if most > IMBALANCE * fewest:
            warnings.append(
                f"unbalanced classes in train: {most:,} pictures of {largest}, {fewest:,} of {smallest}"
            )
    return warnings


def _constant(candidates: Sequence[Candidate]) -> list[str]:
    names = sorted(candidate.name for candidate in candidates if candidate.std < CONSTANT_STD)
    return (
        [f"{len(names):,} pictures are of one colour, as good as: {listed(names)}"] if names else []
    )


def _drift(new_means: NDArray[np.floating], stored_means: NDArray[np.floating]) -> list[str]:
    if not len(new_means) or len(stored_means) < 2:
        return []
    before, after, spread = (
        float(stored_means.mean()),
        float(new_means.mean()),
        float(stored_means.std(ddof=1)),
    )
    chance = STANDARD_ERRORS * spread * sqrt(1 / len(new_means) + 1 / len(stored_means))
    if abs(after - before) <= max(SHIFT * spread, chance):
        return []
    return [
        f"the {len(new_means):,} new pictures have a mean brightness of {after:.1f}, the stored ones {before:.1f} "
        f"(their standard deviation: {spread:.1f}); was something else photographed, or scanned in another way?"
    ]
