"""Distances of feature sets: against torchmetrics, closed forms and brute force."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from atelier.errors import EvaluationError
from atelier.metrics.distances import fd, frechet_distance, kid, kid_difference, polynomial_mmd2


class Identity(torch.nn.Module):
    """Passes features through as if it had extracted them."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def forward(self, features):
        return features


def _features(num_images, num_features=8, shift=0.0, seed=0):
    """Correlated, rectified features, as a network's are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(num_features, num_features)) / np.sqrt(
        num_features
    )
    return np.maximum(rng.normal(size=(num_images, num_features)) @ mixing + 0.5 + shift, 0).astype(
        np.float32
    )


def _with_moments(mean, covariance, num_images, seed):
    """A sample whose mean and covariance are exactly the given ones."""
    sample = np.random.default_rng(seed).normal(size=(num_images, len(mean)))
    sample -= sample.mean(axis=0)
    sample = sample @ np.linalg.inv(np.linalg.cholesky(np.cov(sample.T))).T
    return (sample @ np.linalg.cholesky(covariance).T + mean).astype(np.float32)


@pytest.mark.parametrize("num_features", [3, 64])
def test_frechet_distance_equals_torchmetrics(num_features):
    real, fake = _features(500, num_features), _features(400, num_features, shift=0.2, seed=1)
    reference = FrechetInceptionDistance(feature=Identity(num_features))
    reference.set_dtype(torch.float64)
    reference.update(torch.from_numpy(real), real=True)
    reference.update(torch.from_numpy(fake), real=False)
    assert frechet_distance(real, fake) == pytest.approx(reference.compute().item(), rel=1e-4)


def test_frechet_distance_of_known_gaussians():
    mean_1, mean_2 = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, -1.0])
    roots_1, roots_2 = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.5])
    real = _with_moments(mean_1, np.diag(roots_1**2), 300, seed=0)
    fake = _with_moments(mean_2, np.diag(roots_2**2), 200, seed=1)
    # Covariances that commute: |difference of means|^2 + |difference of standard deviations|^2.
    expected = np.sum((mean_1 - mean_2) ** 2) + np.sum((roots_1 - roots_2) ** 2)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-5)
    assert expected == 15.0


def test_frechet_distance_of_gaussians_that_do_not_commute():
    cov_1, cov_2 = np.array([[2.0, 0.9], [0.9, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    real, fake = (
        _with_moments(np.zeros(2), cov_1, 100, seed=0),
        _with_moments(np.zeros(2), cov_2, 100, seed=1),
    )
    expected = np.trace(cov_1 + cov_2 - 2 * sqrtm(cov_1 @ cov_2).real)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_is_zero_to_itself_symmetric_and_blind_to_order():
    real, fake = _features(300), _features(200, shift=0.3, seed=1)
    assert 0 <= frechet_distance(real, real) < 1e-9
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(fake, real), rel=1e-9)
    assert frechet_distance(real[::-1], fake[::-1]) == pytest.approx(
        frechet_distance(real, fake), rel=1e-9
    )


def test_frechet_distance_bears_features_that_are_always_zero():
    real, fake = _features(300), _features(200, shift=0.3, seed=1)
    dead = [
        np.hstack([features, np.zeros((len(features), 3), dtype=np.float32)])
        for features in (real, fake)
    ]
    assert frechet_distance(*dead) == pytest.approx(frechet_distance(real, fake), rel=1e-6)
    assert frechet_distance(dead[0], dead[0]) < 1e-9


def test_fd_interval_has_the_width_of_repeated_experiments():
    pairs = [
        (_features(300, 4, seed=2 * i), _features(300, 4, shift=0.3, seed=2 * i + 1))
        for i in range(60)
    ]
    scores = [fd(real, fake, 0.95, seed=0) for real, fake in pairs]
    claimed = np.mean([score.high - score.value for score in scores]) / stats.t.ppf(0.975, 29)
    observed = np.std([score.value for score in scores], ddof=1)
    assert 0.75 < claimed / observed < 1.35
    assert all(score.low <= score.value <= score.high for score in scores)


def test_fd_follows_its_seed_and_never_goes_below_zero():
    real, fake = _features(100), _features(100, seed=1)
    assert fd(real, fake, 0.95, seed=0) == fd(real, fake, 0.95, seed=0)
    assert fd(real, fake, 0.95, seed=0).high != fd(real, fake, 0.95, seed=1).high
    assert fd(real, fake, 0.999, seed=0).low >= 0.0
    assert fd(real, fake, 0.95, seed=0).num_samples == 100


@pytest.mark.parametrize("sizes", [(8, 500), (500, 8)])
def test_fd_refuses_fewer_images_than_features(sizes):
    with pytest.raises(
        EvaluationError, match=r"8 features: a covariance needs more .*evaluation.num_images"
    ):
        fd(_features(sizes[0]), _features(sizes[1]), 0.95, seed=0)


@pytest.mark.filterwarnings("ignore:Metric `Kernel")  # it tells that it keeps all features
def test_polynomial_mmd2_equals_torchmetrics():
    real, fake = _features(150, 16), _features(150, 16, shift=0.1, seed=1)
    reference = KernelInceptionDistance(feature=Identity(16), subsets=2, subset_size=150)
    reference.update(torch.from_numpy(real).double(), real=True)
    reference.update(torch.from_numpy(fake).double(), real=False)
    assert polynomial_mmd2(real, fake) == pytest.approx(reference.compute()[0].item(), rel=1e-4)


def test_polynomial_mmd2_by_hand_with_unequal_numbers():
    real, fake = (
        np.array([[1.0], [0.0]], dtype=np.float32),
        np.array([[2.0], [1.0], [0.0]], dtype=np.float32),
    )
    within_real, within_fake, between = 1.0, (27 + 1 + 1) / 3, (27 + 8 + 1 + 3 * 1) / 6
    assert polynomial_mmd2(real, fake) == pytest.approx(within_real + within_fake - 2 * between)


def test_kid_covers_zero_between_equal_distributions():
    scores = [
        kid(_features(200, 4, seed=2 * i), _features(240, 4, seed=2 * i + 1), 0.9, seed=i)
        for i in range(300)
    ]
    assert 0.84 < np.mean([score.low <= 0 <= score.high for score in scores]) < 0.96
    # Unbiased: the mean over experiments is 0 within 4 standard errors, and about half of them are
    # negative.
    values = np.array([score.value for score in scores])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(300)
    assert 0.35 < np.mean(values < 0) < 0.8


def test_kid_deals_sorted_images_at_random():
    # Real and generated sets hold the same two clusters, each sorted the other way round: blocks in
    # order would compare one cluster with the other.
    clusters = np.vstack([_features(200), _features(200, shift=3.0, seed=1)])
    score = kid(clusters, clusters[::-1], 0.95, seed=0)
    apart = polynomial_mmd2(clusters[:200], clusters[200:])
    assert abs(score.value) < 0.05 * apart


def test_kid_follows_its_seed_and_counts_generated_images():
    real, fake = _features(100), _features(90, seed=1)
    assert kid(real, fake, 0.95, seed=0) == kid(real, fake, 0.95, seed=0)
    assert kid(real, fake, 0.95, seed=0).value != kid(real, fake, 0.95, seed=1).value
    assert kid(real, fake, 0.95, seed=0).num_samples == 90


def test_kid_uses_blocks_of_a_thousand():
    real, fake = _features(12_500, 2), _features(12_000, 2, seed=1)
    assert "12 disjoint blocks" in kid(real, fake, 0.95, seed=0).protocol
    assert "10 disjoint blocks" in kid(real[:500], fake, 0.95, seed=0).protocol


def test_a_difference_of_kid_is_surer_than_its_parts():
    real, old = _features(300), _features(300, shift=0.5, seed=1)
    new = old - 0.05  # nearer, each image by as much
    difference = kid_difference(real, new, old, "before", 0.95, seed=0)
    scores = [kid(real, fake, 0.95, seed=0) for fake in (new, old)]
    assert difference.value == pytest.approx(scores[0].value - scores[1].value)
    assert difference.high < 0
    assert scores[0].high > scores[1].low  # taken one by one, their intervals overlap
    assert difference.high - difference.low < 0.3 * (scores[1].high - scores[1].low)
    assert "paired difference to before" in difference.protocol and difference.num_samples == 300
    same = kid_difference(real, old, old, "itself", 0.95, seed=0)
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_kid_refuses_too_few_images():
    with pytest.raises(EvaluationError, match="at least 20 images"):
        kid(_features(19), _features(100), 0.95, seed=0)


def test_more_noise_is_farther_away():
    real, clean = _features(400), _features(400, seed=1)
    rng = np.random.default_rng(2)
    noise = rng.normal(size=clean.shape).astype(np.float32)
    noisy = [clean + sigma * noise for sigma in (0.0, 0.5, 1.0, 2.0)]
    for near, far in pairwise(noisy):
        assert fd(real, near, 0.95, 0).value < fd(real, far, 0.95, 0).value
        assert kid(real, near, 0.95, 0).value < kid(real, far, 0.95, 0).value


@pytest.mark.parametrize("distance", [fd, kid])
def test_features_that_do_not_fit_or_are_not_finite_are_refused(distance):
    with pytest.raises(EvaluationError, match="same number of features"):
        distance(_features(50, 8), _features(50, 9), 0.95, 0)
    broken = _features(50)
    broken[3, 3] = np.inf
    with pytest.raises(EvaluationError, match="features of generated images hold NaN"):
        distance(_features(50), broken, 0.95, 0)
    with pytest.raises(EvaluationError, match="features of real images hold NaN"):
        distance(broken, _features(50), 0.95, 0)
