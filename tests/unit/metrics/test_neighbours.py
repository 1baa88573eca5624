"""Scores from nearest neighbours.

Against brute force, by hand, and the memorisation test's rate of false alarms.
"""

import numpy as np
import pytest

from atelier.errors import EvaluationError
from atelier.metrics import neighbours
from atelier.metrics.neighbours import CLOSEST, memorisation, nearest_training, neighbour_scores


def _features(num_images, num_features=8, shift=0.0, seed=0):
    """Correlated, rectified features, as a network's are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(num_features, num_features)) / np.sqrt(
        num_features
    )
    return np.maximum(rng.normal(size=(num_images, num_features)) @ mixing + 0.5 + shift, 0).astype(
        np.float32
    )


def _values(real, fake):
    return {name: score.value for name, score in neighbour_scores(real, fake, 0.95).items()}


# -- precision, recall, density, coverage ------------------------------------------------------


def test_all_four_equal_brute_force_across_chunks(monkeypatch):
    monkeypatch.setattr(neighbours, "_CHUNK_ELEMENTS", 300_000)  # 272 rows of 1100, 230 of 1300
    real, fake = _features(1300), _features(1100, shift=0.4, seed=1)
    within = [np.sort(np.linalg.norm(s[:, None] - s[None], axis=2), axis=1) for s in (real, fake)]
    between = np.linalg.norm(real[:, None] - fake[None], axis=2)
    scores = neighbour_scores(real, fake, 0.95)
    in_real_ball = between <= within[0][:, 5][:, None]
    expected = {
        "precision": (between <= within[0][:, 3][:, None]).any(axis=0).mean(),
        "recall": (between <= within[1][:, 3]).any(axis=1).mean(),
        "density": in_real_ball.sum() / (5 * 1100),
        "coverage": in_real_ball.any(axis=1).mean(),
    }
    assert {name: score.value for name, score in scores.items()} == pytest.approx(
        expected, abs=2e-3
    )
    assert [scores[name].num_samples for name in expected] == [1100, 1300, 1100, 1300]
    assert all(
        0.05 < score.value < 0.95 and score.low < score.value < score.high
        for score in scores.values()
    )


def test_equal_and_disjoint_sets():
    real = _features(300) + 50.0  # far from the origin, where float32 distances lose digits
    same = _values(real, real.copy())
    assert (same["precision"], same["recall"], same["coverage"]) == (1.0, 1.0, 1.0)
    assert same["density"] == pytest.approx(
        6 / 5
    )  # each image is in its own ball and in those of five others on average
    assert set(_values(real, real + 100.0).values()) == {0.0}


def test_two_samples_of_one_distribution_have_the_density_and_coverage_of_the_paper():
    # Naeem et al. 2020, section 3.3: 1, and 1 - (N - 1) ... (N - k) / ((2N - 1) ... (2N - k)),
    # which is about 1 - 2^-k.
    values = [
        _values(_features(500, seed=2 * i), _features(500, seed=2 * i + 1)) for i in range(20)
    ]
    assert np.mean([value["density"] for value in values]) == pytest.approx(1.0, abs=0.03)
    exact = 1 - np.prod([(500 - i) / (1000 - i) for i in range(1, 6)])
    assert np.mean([value["coverage"] for value in values]) == pytest.approx(exact, abs=0.01)


def test_quality_is_told_from_variety():
    real = np.vstack([_features(200), _features(200, shift=20.0, seed=1)])
    one_mode_only = _features(400, seed=2)
    values = _values(real, one_mode_only)
    assert values["precision"] > 0.8 and values["density"] > 0.8
    assert 0.3 < values["recall"] < 0.5 and 0.3 < values["coverage"] <= 0.5
    values = _values(one_mode_only, real)
    assert 0.3 < values["precision"] < 0.5 and values["recall"] > 0.8


def test_one_image_far_away_doesnt_change_density_and_coverage_as_it_does_precision():
    real, fake = _features(300), _features(300, shift=6.0, seed=1)
    outlier = np.vstack([real, np.full((1, 8), 60.0, np.float32)])  # its ball holds everything
    before, after = _values(real, fake), _values(outlier, fake)
    assert (before["precision"], after["precision"]) == (0.0, 1.0)
    assert (
        after["density"] <= before["density"] + 0.2
        and after["coverage"] < before["coverage"] + 0.01
    )


def test_duplicates_are_neighbours():
    # Six copies of each point: the fifth neighbour is at distance 0, and only exact matches count.
    points = np.arange(5, dtype=np.float32)[:, None].repeat(6, axis=0)
    assert set(_values(points, points + 0.5).values()) == {0.0}


def test_more_noise_is_worse_by_each():
    real, clean = _features(400), _features(400, seed=1)
    noise = np.random.default_rng(2).normal(size=clean.shape).astype(np.float32)
    values = [_values(real, clean + sigma * noise) for sigma in (0.0, 0.5, 1.0, 2.0)]
    for name in ("precision", "density", "coverage"):
        assert [value[name] for value in values] == sorted(
            (value[name] for value in values), reverse=True
        )


def test_sets_without_neighbours_are_refused():
    with pytest.raises(EvaluationError, match="too few for the 5th neighbour"):
        neighbour_scores(_features(5), _features(10), 0.95)
    with pytest.raises(EvaluationError, match="4 training images are too few"):
        nearest_training(_features(4), _features(10))
    with pytest.raises(EvaluationError, match="same number of features"):
        nearest_training(_features(40, 8), _features(10, 7))
    with pytest.raises(EvaluationError, match="0 generated and 10 held-out"):
        memorisation(np.empty(0), np.ones(10), 0.95)


# -- memorisation ------------------------------------------------------------------------------


def test_the_nearest_training_image_and_its_closeness_equal_brute_force(monkeypatch):
    monkeypatch.setattr(neighbours, "_CHUNK_ELEMENTS", 100_000)  # 200 rows
    train, images = _features(500) + 50.0, _features(450, seed=1) + 50.0
    closeness, nearest = nearest_training(train, images)
    distances = np.linalg.norm(images[:, None].astype(np.float64) - train[None], axis=2)
    np.testing.assert_array_equal(nearest, distances.argmin(axis=1))
    ordered = np.sort(distances, axis=1)
    np.testing.assert_allclose(closeness, ordered[:, 0] / ordered[:, 4], rtol=1e-9)


def test_a_copy_is_at_no_distance_whatever_its_duplicates():
    train = _features(500)
    closeness, nearest = nearest_training(train, train[::-1].copy())
    assert not closeness.any() and np.array_equal(nearest, np.arange(500)[::-1])
    duplicates = np.vstack([train, np.repeat(train[:1], 9, axis=0)])
    assert nearest_training(duplicates, train[:1])[0] == 0


def _simulated(seed, share_copied=0.0, spread=1.0, num=300):
    """Memorisation of a generator that draws from the data's distribution, or a narrower one, and
    copies a share."""
    rng = np.random.default_rng(seed)
    train, held_out, fake = (
        rng.normal(size=(count, 6)).astype(np.float32) for count in (2000, num, num)
    )
    fake *= spread
    num_copied = int(share_copied * num)
    fake[:num_copied] = train[rng.integers(2000, size=num_copied)]
    return memorisation(
        nearest_training(train, fake)[0], nearest_training(train, held_out)[0], 0.95
    )


@pytest.mark.parametrize("spread", [1.0, 0.5], ids=["as the data", "typical images only"])
def test_false_alarms_on_200_generators_that_dont_memorise_are_as_rare_as_said(spread):
    scores = [_simulated(seed, spread=spread) for seed in range(200)]
    alarms = np.mean([score.low > CLOSEST for score in scores])
    stated = 0.025  # half of 1 - confidence
    assert alarms <= stated + 3 * np.sqrt(stated * (1 - stated) / 200)
    assert np.mean([score.value for score in scores]) == pytest.approx(CLOSEST, abs=0.003)
    assert np.mean([score.value <= 0.05 for score in scores]) >= 0.99  # the floor in params.yaml


def test_distance_alone_would_take_typical_images_for_copies():
    """Why closeness is a ratio: a generator that draws what is common has training images nearby,
    and copied none."""
    rng = np.random.default_rng(0)
    train, held_out = rng.normal(size=(2, 1000, 6))
    nearest = [
        np.linalg.norm(x[:, None] - train[None], axis=2).min(axis=1)
        for x in (held_out, 0.5 * held_out[::-1])
    ]
    assert np.mean(nearest[1] < np.quantile(nearest[0], CLOSEST)) > 3 * CLOSEST


def test_a_generator_that_copies_a_tenth_is_caught():
    scores = [_simulated(seed, share_copied=0.1) for seed in range(50)]
    assert all(score.low > CLOSEST and score.value > 0.05 for score in scores)
    assert np.mean([score.value for score in scores]) == pytest.approx(
        0.1 + 0.9 * CLOSEST, abs=0.005
    )


def test_so_is_one_whose_copies_differ_in_details():
    rng = np.random.default_rng(0)
    train, held_out, fake = (
        rng.normal(size=(count, 6)).astype(np.float32) for count in (2000, 300, 300)
    )
    fake[:30] = train[:30] + 0.02 * rng.normal(size=(30, 6))
    score = memorisation(
        nearest_training(train, fake)[0], nearest_training(train, held_out)[0], 0.95
    )
    assert score.low > CLOSEST


def test_few_held_out_images_make_the_interval_wide():
    few, many = _simulated(0, num=100), _simulated(0, num=2000)
    assert few.high - few.low > 3 * (many.high - many.low)
    assert (few.num_samples, many.num_samples) == (100, 2000)
