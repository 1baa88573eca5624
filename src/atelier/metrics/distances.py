"""Distances between two sets of images, on features that an extractor took from them.

Without the Inception weights of 2015 none of these is FID or KID as published: a score is named
after its extractor.

Shapes: N real images, M generated ("fake") images, D features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.errors import EvaluationError
from atelier.metrics.intervals import Score, bootstrap_counts, bootstrap_interval, mean_interval

# The standard error of 30 replicates is itself known to 13 %, and its t quantile allows for that.
FD_NUM_REPLICATES = 30
# Binkowski et al. 2018, section 4, average over subsets of 1000; at least 10 of them, so that their
# spread is known.
KID_BLOCK_SIZE = 1000
KID_MIN_BLOCKS = 10

Features = NDArray[np.float32]
_Moments = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def frechet_distance(real_ND: Features, fake_MD: Features) -> float:
    """Squared Frechet distance between Gaussians fitted to two sets of features.

    Args:
        real_ND: features of real images, N > D.
        fake_MD: features of generated images, M > D.

    Returns:
        |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)), >= 0, in squared units of the features;
        biased upwards by about 1/N + 1/M.

    Raises:
        EvaluationError: if there are no more images than features, the features differ in number,
            or one is not finite.

    Source: Heusel et al. 2017, arXiv:1706.08500, eq. 6 (the formula is Dowson and Landau's, 1982).
    """
    _check_rank(real_ND, fake_MD)
    ones = [np.ones(len(features), dtype=np.int64) for features in (real_ND, fake_MD)]
    return _gaussian_distance(
        _moments(real_ND.astype(np.float64), ones[0]), _moments(fake_MD.astype(np.float64), ones[1])
    )


def fd(real_ND: Features, fake_MD: Features, confidence: float, seed: int) -> Score:
    """Frechet distance with an interval from its bootstrap standard error over both sets.

    The interval tells how much the value would move with other images of the same numbers; the
    upward bias of `frechet_distance` stays in it. Compare values of the same N and M, or read the
    value beside real against real.

    Args:
        real_ND: features of real images, N > D.
        fake_MD: features of generated images, M > D.
        confidence: coverage of the interval, in (0, 1).
        seed: seed of the bootstrap.

    Returns:
        The distance, >= 0; `num_samples` is M.

    Raises:
        EvaluationError: as `frechet_distance`.
    """
    value = frechet_distance(real_ND, fake_MD)
    rng = np.random.default_rng(seed)
    # Of the replicates only the spread is used, which float32 gives in half the time, near the
    # origin.
    centre_D = real_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    real, fake = real_ND - centre_D, fake_MD - centre_D
    # The replicates lie above the value: a resampled set repeats images, which adds the
    # finite-sample bias a second time.
    replicates = [
        _gaussian_distance(_moments(real, real_counts), _moments(fake, fake_counts))
        for real_counts, fake_counts in zip(
            bootstrap_counts(len(real), FD_NUM_REPLICATES, rng),
            bootstrap_counts(len(fake), FD_NUM_REPLICATES, rng),
            strict=True,
        )
    ]
    # N and M belong to the protocol: they set the bias.
    protocol = (
        f"squared Frechet distance of Gaussians, {real.shape[1]} features, {len(real)} real and "
        f"{len(fake)} generated"
    )
    return bootstrap_interval(value, replicates, len(fake), confidence, protocol, (0.0, np.inf))


def polynomial_mmd2(real_ND: Features, fake_MD: Features) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x.y / D + 1)^3.

    Holds the N x N, M x M and N x M kernel matrices in float64: meant for blocks of about 1000.

    Args:
        real_ND: features of real images, N >= 2.
        fake_MD: features of generated images, M >= 2.

    Returns:
        The estimate; its mean is 0 for equal distributions, so it can be negative.

    Source: Gretton et al. 2012, eq. 3; kernel of Binkowski et al. 2018, arXiv:1801.01401, section
    4.
    """
    real, fake = real_ND.astype(np.float64), fake_MD.astype(np.float64)

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        gram: NDArray[np.float64] = a @ b.T / a.shape[1] + 1
        # Not `gram ** 3`: numpy's power is 20 times slower than two products.
        return gram * gram * gram

    def mean_without_diagonal(square: NDArray[np.float64]) -> float:
        return float((square.sum() - np.trace(square)) / (len(square) * (len(square) - 1)))

    within = mean_without_diagonal(kernel(real, real)) + mean_without_diagonal(kernel(fake, fake))
    return within - 2 * float(kernel(real, fake).mean())


def kid(real_ND: Features, fake_MD: Features, confidence: float, seed: int) -> Score:
    """Kernel distance: mean of `polynomial_mmd2` over disjoint blocks, with its t interval.

    The usual 100 subsets of 1000 overlap, so their spread says little about other images; disjoint
    blocks are independent. Images are dealt to the blocks at random: generated ones may come sorted
    by class.

    Args:
        real_ND: features of real images, N >= 20.
        fake_MD: features of generated images, M >= 20.
        confidence: coverage of the interval, in (0, 1).
        seed: seed of the deal.

    Returns:
        The distance, unbiased (at any N and M), so it can be slightly negative; `num_samples` is M.

    Raises:
        EvaluationError: if there are too few images, the features differ in number, or one is not
            finite.

    Source: Binkowski et al. 2018, arXiv:1801.01401, section 4.
    """
    estimates, protocol = kid_blocks(real_ND, fake_MD, seed)
    return replace(mean_interval(estimates, confidence, protocol), num_samples=len(fake_MD))


def kid_difference(
    real_ND: Features,
    new_MD: Features,
    old_MD: Features,
    old_name: str,
    confidence: float,
    seed: int,
) -> Score:
    """`kid` of one set of images minus that of another, by blocks, so that what both share cancels.

    Args:
        real_ND: features of real images, N >= 20.
        new_MD: features of generated images, M >= 20.
        old_MD: features of what they are compared with, image by image.
        old_name: what that is.
        confidence: coverage of the interval, in (0, 1).
        seed: seed of the deal.

    Returns:
        The difference, below 0 if the new images are nearer to the real ones; `num_samples` is M.

    Raises:
        EvaluationError: as `kid`.
    """
    (new, protocol), (old, _) = (kid_blocks(real_ND, fake_MD, seed) for fake_MD in (new_MD, old_MD))
    score = mean_interval(new - old, confidence, f"paired difference to {old_name}; {protocol}")
    return replace(score, num_samples=len(new_MD))


def kid_blocks(real_ND: Features, fake_MD: Features, seed: int) -> tuple[NDArray[np.float64], str]:
    """`polynomial_mmd2` of disjoint blocks, and the protocol of their mean, which is `kid`.

    Of two sets of as many generated images, with the same real ones and the same seed, the blocks
    belong together in pairs: they have the same real images.
    """
    check_features(real_ND, fake_MD)
    fewest = min(len(real_ND), len(fake_MD))
    if fewest < 2 * KID_MIN_BLOCKS:
        raise EvaluationError(
            f"kid: {len(real_ND)} real and {len(fake_MD)} generated images do not fill "
            f"{KID_MIN_BLOCKS} blocks of 2. "
            f"Evaluate at least {2 * KID_MIN_BLOCKS} images of each (evaluation.num_images)."
        )
    num_blocks = max(KID_MIN_BLOCKS, fewest // KID_BLOCK_SIZE)
    rng = np.random.default_rng(seed)
    real_blocks, fake_blocks = (
        np.array_split(features[rng.permutation(len(features))], num_blocks)
        for features in (real_ND, fake_MD)
    )
    estimates = [
        polynomial_mmd2(real, fake) for real, fake in zip(real_blocks, fake_blocks, strict=True)
    ]
    protocol = (
        f"unbiased MMD^2, kernel (x.y/{real_ND.shape[1]} + 1)^3, mean of {num_blocks} disjoint "
        "blocks"
    )
    return np.array(estimates), protocol


def check_features(real_ND: Features, fake_MD: Features) -> None:
    """Refuse features that don't belong together, or aren't numbers.

    Raises:
        EvaluationError: if they differ in number, or one is not finite.
    """
    if real_ND.ndim != 2 or fake_MD.ndim != 2 or real_ND.shape[1] != fake_MD.shape[1]:
        raise EvaluationError(
            f"features of shape {real_ND.shape} against {fake_MD.shape}: both must be (images, "
            "features) with the same "
            "number of features. Take both from the same extractor."
        )
    for name, features in (("real", real_ND), ("generated", fake_MD)):
        if not np.isfinite(features).all():
            raise EvaluationError(
                f"the features of {name} images hold NaN or infinity. Look at the images and the "
                "extractor's weights."
            )


def _check_rank(real_ND: Features, fake_MD: Features) -> None:
    check_features(real_ND, fake_MD)
    fewest, num_features = min(len(real_ND), len(fake_MD)), real_ND.shape[1]
    if fewest <= num_features:
        raise EvaluationError(
            f"frechet distance: {len(real_ND)} real and {len(fake_MD)} generated images with "
            f"{num_features} features: "
            "a covariance needs more images than features, or the distance means nothing. Evaluate "
            "more than "
            f"{num_features} images of each (evaluation.num_images; 10 times as many for a small "
            "bias), or use kid."
        )


def _moments(features_ND: NDArray[np.floating[Any]], counts_N: NDArray[np.int64]) -> _Moments:
    """Mean, eigenvalues and -vectors of the covariance, of a set with image n counts_N[n] times.

    Products of the features have their precision, what is made of them float64.
    """
    num_images, kind = counts_N.sum(), features_ND.dtype
    mean_D = counts_N.astype(kind) @ features_ND / num_images
    centred = (features_ND - mean_D.astype(kind)) * np.sqrt(counts_N).astype(kind)[:, None]
    eigenvalues, eigenvectors = np.linalg.eigh(
        (centred.T @ centred).astype(np.float64) / (num_images - 1)
    )
    return mean_D.astype(np.float64), eigenvalues.clip(min=0), eigenvectors


def _gaussian_distance(first: _Moments, second: _Moments) -> float:
    (mean_1, values_1, vectors_1), (mean_2, values_2, vectors_2) = first, second
    # The eigenvalues of S_1 S_2 are the squared singular values of S_1^(1/2) S_2^(1/2). Taking the
    # latter keeps all the digits of the small ones, which the square root of an eigenvalue would
    # halve.
    roots = (vectors_1 * np.sqrt(values_1)).T @ (vectors_2 * np.sqrt(values_2))
    trace_of_root = np.linalg.svd(roots, compute_uv=False).sum()
    distance = (
        np.square(mean_1 - mean_2).sum() + values_1.sum() + values_2.sum() - 2 * trace_of_root
    )
    return max(0.0, float(distance))
