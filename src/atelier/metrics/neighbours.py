"""Scores from nearest neighbours in feature space.

Is what is generated near real images, all of them, and no copy?

Shapes: T training images, N real (held-out) images, M generated ("fake") images, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atelier.errors import EvaluationError
from atelier.metrics.distances import Features, check_features
from atelier.metrics.intervals import Score, exceedance_interval, mean_interval, proportion_interval

PRECISION_K = 3  # Kynkaanniemi et al. 2019, section 3.1
DENSITY_K = 5  # Naeem et al. 2020, section 3.2
# Among so many nearest training images all but one may be duplicates of what was copied.
MEMORISATION_K = 5
# Share of the held-out images that count as close to a training image.
CLOSEST = 0.01
_CHUNK_ELEMENTS = 2**22  # of a matrix of distances: 17 MB of float32; 2**20 and 2**24 are slower

Distances = NDArray[np.float64]


def neighbour_scores(real_ND: Features, fake_MD: Features, confidence: float) -> dict[str, Score]:
    """Precision, recall, density and coverage, from one look at each pair of images.

    An image's ball reaches its k-th nearest neighbour in its own set. Precision is the share of
    generated images in some real image's ball, recall the share of real images in some generated
    image's ball (k = 3). Density is the mean number of real balls that a generated image is in,
    over k; coverage the share of real balls that hold a generated image (k = 5): both look at real
    balls alone, so a few generated images far away change little.

    Args:
        real_ND: features of real images, N > 5.
        fake_MD: features of generated images, M > 5.
        confidence: coverage of the intervals, in (0, 1).

    Returns:
        "precision", "recall" and "coverage" in [0, 1], "density" >= 0, which is 1 on average
        between samples of one distribution. Each interval holds the balls fixed. Read all beside
        real against real.

    Raises:
        EvaluationError: if a set has too few images, the features differ in number, or one is not
            finite.

    Source: Kynkaanniemi et al. 2019, arXiv:1904.06991, eqs. 1 and 2; Naeem et al. 2020,
    arXiv:2002.09797, eqs. 3 and 4.
    """
    check_features(real_ND, fake_MD)
    if min(len(real_ND), len(fake_MD)) <= DENSITY_K:
        raise EvaluationError(
            f"precision and density: {len(real_ND)} real and {len(fake_MD)} generated images are "
            "too few for the "
            f"{DENSITY_K}th neighbour. Evaluate more than {DENSITY_K} images of each "
            "(evaluation.num_images)."
        )
    return _count_in_balls(*_centred(real_ND, fake_MD)).scores(confidence)


@dataclass(frozen=True)
class _Counts:
    """Who lies in whose ball.

    Attributes:
        is_precise_M: which generated images lie in a real ball of k = 3.
        num_balls_M: in how many real balls of k = 5 each of them lies.
        num_recalled: how many real images lie in a generated ball of k = 3.
        num_covered: how many real balls of k = 5 hold a generated image.
        num_real: N.
        num_features: D.
    """

    is_precise_M: NDArray[np.bool_]
    num_balls_M: NDArray[np.int64]
    num_recalled: int
    num_covered: int
    num_real: int
    num_features: int

    def scores(self, confidence: float) -> dict[str, Score]:
        """Of all four, with their intervals."""
        num_fake = len(self.is_precise_M)
        num_real = self.num_real
        sizes = (
            f"{self.num_features} features, {num_real} real and {num_fake} generated, the balls "
            "held fixed"
        )
        other = f"k = {PRECISION_K}, {sizes}"
        own = f"k = {DENSITY_K}, {sizes}"
        num_precise = int(self.is_precise_M.sum())
        depth_M = self.num_balls_M / DENSITY_K
        return {
            "precision": proportion_interval(
                num_precise, num_fake, confidence, f"k-NN precision, {other}"
            ),
            "recall": proportion_interval(
                self.num_recalled, num_real, confidence, f"k-NN recall, {other}"
            ),
            "density": mean_interval(depth_M, confidence, f"k-NN density, {own}", (0.0, np.inf)),
            "coverage": proportion_interval(
                self.num_covered, num_real, confidence, f"k-NN coverage, {own}"
            ),
        }


def _count_in_balls(real: Features, fake: Features) -> _Counts:
    """Of centred features."""
    real_3N, real_5N = _squared_radii(real, PRECISION_K, DENSITY_K)
    (fake_3M,) = _squared_radii(fake, PRECISION_K)
    is_precise_M = np.zeros(len(fake), dtype=bool)
    num_balls_M = np.zeros(len(fake), dtype=np.int64)
    num_recalled = 0
    num_covered = 0
    for rows, distances in _squared_distances(real, fake):
        num_recalled += int((distances <= fake_3M).any(axis=1).sum())
        # Few pairs are that near: looking them up beats further looks at all pairs. A ball of 3
        # lies inside that of 5.
        balls, inside = np.divmod(np.flatnonzero(distances <= real_5N[rows, None]), len(fake))
        num_balls_M += np.bincount(inside, minlength=len(fake))
        num_covered += len(np.unique(balls))
        is_precise_M[inside[distances[balls, inside] <= real_3N[rows][balls]]] = True
    return _Counts(is_precise_M, num_balls_M, num_recalled, num_covered, len(real), real.shape[1])


def nearest_training(
    train_TD: Features, images_MD: Features
) -> tuple[Distances, NDArray[np.int64]]:
    """How close each image comes to a training image, by the measure of the place, and to which.

    The distance to the nearest training image is divided by that to the 5th nearest. Where training
    images lie evenly in m dimensions, closeness**m has one distribution, however densely they lie:
    so a generator that draws nothing but typical images, which all have training images nearby,
    isn't taken for one that copies.

    Args:
        train_TD: features of the training images, T >= 5.
        images_MD: the same features of other images.

    Returns:
        closeness_M in [0, 1], 0 for a copy; nearest_M, positions of training images.

    Raises:
        EvaluationError: if there are too few training images, the features differ in number, or one
            is not finite.

    Source: the ratio as in Carlini et al. 2023, arXiv:2301.13188, section 4.2; its distribution
    follows from a
        homogeneous Poisson process: given the k-th distance, the others are uniform in that ball.
    """
    check_features(train_TD, images_MD)
    if len(train_TD) < MEMORISATION_K:
        raise EvaluationError(
            f"memorisation: {len(train_TD)} training images are too few for the {MEMORISATION_K}th "
            "neighbour. "
            "Give the dataset more pictures."
        )
    train, images = _centred(train_TD, images_MD)
    closeness, nearest = [], []
    for rows, distances in _squared_distances(images, train):
        _, candidates = _smallest(distances, MEMORISATION_K)
        # |x|^2 + |y|^2 - 2 x.y doesn't tell a copy from its neighbourhood in float32; the
        # difference does.
        offsets = images[rows, None].astype(np.float64) - train[candidates]
        exact = np.sqrt(np.square(offsets).sum(axis=2))
        first, last = exact.argmin(axis=1)[:, None], exact.max(axis=1)
        # Five duplicates of one training image, copied: 0 / 0.
        closeness.append(
            np.take_along_axis(exact, first, axis=1)[:, 0] / np.where(last > 0, last, 1.0)
        )
        nearest.append(np.take_along_axis(candidates, first, axis=1)[:, 0])
    return np.concatenate(closeness), np.concatenate(nearest)


def memorisation(fake_M: Distances, held_out_N: Distances, confidence: float) -> Score:
    """Share of generated images closer to a training image than all but 1 % of held-out images.

    A generator that doesn't memorise scores 0.01 or less. A lower end above 0.01 is a test's word
    that it does, with false alarms at a rate of (1 - confidence) / 2: a generator that draws as the
    data are distributed is as close to the training images as held-out images are, and how many of
    its images pass the 1 % then doesn't depend on the data (see `exceedance_interval`).

    Args:
        fake_M: closeness of generated images, from `nearest_training`.
        held_out_N: closeness of images that no training saw, to the same training images.
        confidence: coverage of the interval, in (0, 1).

    Returns:
        The share, in [0, 1]; lower is better. Of fewer than 200 held-out images the closest one
        counts as 1 %.

    Raises:
        EvaluationError: if there are no images.

    Source: after the three-sample test of Meehan et al. 2020, arXiv:2004.05675, section 3.
    """
    if not len(fake_M) or not len(held_out_N):
        raise EvaluationError(
            f"memorisation: {len(fake_M)} generated and {len(held_out_N)} held-out images. It "
            "needs both."
        )
    rank = max(1, int(CLOSEST * (len(held_out_N) + 1)))
    threshold = np.partition(held_out_N, rank - 1)[rank - 1]
    num_closer = int(np.count_nonzero(fake_M < threshold))
    protocol = (
        f"share of generated images closer to a training image than all but {CLOSEST:.0%} of "
        f"{len(held_out_N)} "
        f"held-out images, distance to the nearest over that to the {MEMORISATION_K}th nearest"
    )
    return exceedance_interval(num_closer, len(fake_M), rank, len(held_out_N), confidence, protocol)


def _centred(first_ND: Features, second_MD: Features) -> tuple[Features, Features]:
    """Distances don't change with the origin; |x|^2 + |y|^2 - 2 x.y loses digits far from it."""
    centre = first_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    return first_ND - centre, second_MD - centre


def _squared_distances(
    a_ND: Features, b_MD: Features
) -> Iterator[tuple[NDArray[np.int64], Features]]:
    """Some rows of a, and their squared distances to all of b."""
    import torch  # its product keeps to params.threads, numpy's takes all cores

    # |a|^2 - 2 a.b + |b|^2 as one product: three further passes over the matrix would take as long
    # as it does.
    squares_N, squares_M = (
        np.square(features).sum(axis=1, keepdims=True) for features in (a_ND, b_MD)
    )
    left = np.hstack([-2 * a_ND, squares_N, np.ones_like(squares_N)])
    right = torch.from_numpy(np.hstack([b_MD, np.ones_like(squares_M), squares_M])).T
    num_rows = max(1, _CHUNK_ELEMENTS // len(b_MD))
    for start in range(0, len(a_ND), num_rows):
        rows = np.arange(start, min(start + num_rows, len(a_ND)))
        yield rows, (torch.from_numpy(left[rows]) @ right).numpy()


def _smallest(distances: Features, k: int) -> tuple[Features, NDArray[np.int64]]:
    """The k smallest values of each row in their order, and where they are."""
    import torch  # numpy's argpartition takes ten times as long

    found = torch.topk(torch.from_numpy(distances), k, largest=False)
    return found.values.numpy(), found.indices.numpy()


def _squared_radii(features_ND: Features, *ks: int) -> list[Features]:
    """For each k, the squared distance of every row to its k-th nearest other row."""
    nearest = []
    for rows, distances in _squared_distances(features_ND, features_ND):
        distances[np.arange(len(rows)), rows] = np.inf
        nearest.append(_smallest(distances, max(ks))[0])
    return [np.concatenate(nearest)[:, k - 1] for k in ks]
