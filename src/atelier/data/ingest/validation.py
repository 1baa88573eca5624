"""Which of the pictures that were read are stored, in which split, and why the others are not.

The result depends on the pictures, their classes and own splits, and the stored version: not on
order or names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atelier.data.ingest.oddities import CONSTANT_STD, oddities
from atelier.data.ingest.perceptual import Thumbnails, within
from atelier.data.ingest.records import Accepted
from atelier.data.sources.pictures import Candidate, Reason, Rejected
from atelier.data.splits import SPLITS, Split, split_of
from atelier.params import Dataset

# Of two pictures that are the same, the one that comes first here is kept: losing a test picture
# would change what scores are compared on, losing a training picture hardly matters.
PRECEDENCE: tuple[Split, ...] = ("test", "validation", "train")


class Validated(NamedTuple):
    """What becomes of every candidate."""

    accepted: list[Accepted]  # by split, then by content hash
    quarantined: list[Rejected]
    warnings: list[str]  # for people


def validate(
    candidates: Sequence[Candidate],
    splits: Mapping[str, Split],
    dataset: Dataset,
    pixels: Callable[[Candidate], NDArray[np.uint8]],
    stored_means: NDArray[np.floating],
) -> Validated:
    """Sort out duplicates and contradicting labels, give images their splits, look for oddities.

    Args:
        candidates: all pictures that were read, in any order; also those that are stored.
        splits: of each stored image, by its content hash: an image never changes its split.
        dataset: the parameters.
        pixels: a candidate's uint8 HWC pixels; called only where a hash resembles another's.
        stored_means: mean brightness in [0, 255] of each stored image; may be empty.
    """
    images, quarantined = _distinct_images(candidates)
    own_splits = {candidate.split for candidate in candidates}
    test_fraction = 0.0 if "test" in own_splits else dataset.test_fraction
    validation_fraction = 0.0 if "validation" in own_splits else dataset.validation_fraction
    placed = []
    for image in images:
        split = splits.get(image.sha256) or _split(image, test_fraction, validation_fraction)
        placed.append(Accepted(image, split))
    accepted, resembling = _without_near_duplicates(placed, splits, dataset, pixels)
    accepted.sort(key=lambda picture: (SPLITS.index(picture.split), picture.candidate.sha256))
    return Validated(accepted, quarantined + resembling, oddities(accepted, splits, stored_means))


def _distinct_images(candidates: Iterable[Candidate]) -> tuple[list[Candidate], list[Rejected]]:
    """One candidate of each content hash, with the label and foremost own split of its copies."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.sha256].append(candidate)
    images = []
    rejected = []
    for copies in groups.values():
        labels = sorted({copy.class_name for copy in copies} - {""})
        if len(labels) > 1:
            rejected += [Rejected(copy.name, "two labels", " and ".join(labels)) for copy in copies]
            continue
        kept, *others = sorted(
            copies, key=lambda copy: (not copy.class_name, copy.source, copy.name)
        )
        foremost = min((copy.split for copy in copies), key=(*PRECEDENCE, "").index)
        images.append(kept._replace(split=foremost))
        rejected += [Rejected(copy.name, "exact duplicate", f"of {kept.name}") for copy in others]
    return images, rejected


def _split(image: Candidate, test_fraction: float, validation_fraction: float) -> Split:
    """The source's own split of a picture.

    What is not set apart by it may be so by the content hash.
    """
    for own in PRECEDENCE[:2]:
        if image.split == own:
            return own
    return split_of(image.sha256, test_fraction, validation_fraction)


def _without_near_duplicates(
    placed: Iterable[Accepted],
    stored: Mapping[str, Split],
    dataset: Dataset,
    pixels: Callable[[Candidate], NDArray[np.uint8]],
) -> tuple[list[Accepted], list[Rejected]]:
    """Keep one picture after the other, unless it resembles one that is kept already.

    What is stored comes first, so a new picture never drives it out; two stored ones that resemble
    each other come from a version with other rules.
    A source's own test set stays whole: scores published for it are scores on all of it.
    Time grows with the square of the number of pictures: 3 s for 70,000, 10 minutes for 1,000,000.
    """
    order = sorted(placed, key=lambda picture: _rank(picture, stored))
    splits_N = np.array([PRECEDENCE.index(picture.split) for picture in order], np.uint8)
    hashes_N = np.array([picture.candidate.phash for picture in order], np.uint64)
    thumbnails = Thumbnails(len(order), lambda number: pixels(order[number].candidate))
    kept_N = np.empty(len(order), np.intp)
    kept_hashes_N = np.empty_like(hashes_N)
    num_kept = 0
    rejected = []
    for number, picture in enumerate(order):
        candidate = picture.candidate
        if candidate.std >= CONSTANT_STD:
            alike_M = kept_N[within(kept_hashes_N[:num_kept], candidate.phash)]
            elsewhere_M = splits_N[alike_M] != splits_N[number]
            if dataset.near_duplicates == "keep" or candidate.split == "test":
                alike_M = alike_M[elsewhere_M]
            same_M = alike_M[thumbnails.same(number, alike_M)] if len(alike_M) else alike_M
            if len(same_M):
                rejected.append(_near_duplicate(picture, [order[other] for other in same_M]))
                continue
        kept_N[num_kept] = number
        kept_hashes_N[num_kept] = hashes_N[number]
        num_kept += 1
    return [order[number] for number in kept_N[:num_kept]], rejected


def _rank(picture: Accepted, stored: Mapping[str, Split]) -> tuple[bool, int, str]:
    sha256 = picture.candidate.sha256
    return sha256 not in stored, PRECEDENCE.index(picture.split), sha256


def _near_duplicate(picture: Accepted, same: Sequence[Accepted]) -> Rejected:
    """Why a picture is not stored; one in another split is the weightier reason."""
    in_other_splits = (other for other in same if other.split != picture.split)
    first = next(in_other_splits, same[0])
    reason: Reason = "near duplicate across splits"
    if first.split == picture.split:
        reason = "near duplicate"
    detail = f"of {first.candidate.name} in {first.split}"
    return Rejected(picture.candidate.name, reason, detail)
