"""Intervals: against scipy, and by how often they cover the truth."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from atelier.errors import EvaluationError
from atelier.metrics.intervals import (
    bootstrap_counts,
    bootstrap_interval,
    exceedance_interval,
    mean_interval,
    proportion_interval,
)


def test_mean_interval_is_scipys_t_interval():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=17)
    score = mean_interval(values, 0.9, "p")
    low, high = stats.t.interval(0.9, 16, loc=values.mean(), scale=stats.sem(values))
    assert (score.value, score.low, score.high) == pytest.approx((values.mean(), low, high))
    assert score.num_samples == 17
    assert score.protocol == "p; 0.9 t interval of the mean"


def test_mean_interval_covers_at_its_confidence():
    # At n = 5 an interval with the normal quantile covers 88 %.
    rng = np.random.default_rng(1)
    scores = [mean_interval(rng.normal(1.0, 3.0, size=5), 0.95, "") for _ in range(3000)]
    covered = np.mean([score.low <= 1.0 <= score.high for score in scores])
    assert 0.935 < covered < 0.965


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_proportion_interval_covers_at_its_confidence(share):
    # At n = 40 and 97 % the textbook interval share +- z sqrt(share (1 - share) / n) covers 70 %.
    hits = np.random.default_rng(2).binomial(40, share, size=3000)
    scores = [proportion_interval(int(h), 40, 0.95, "") for h in hits]
    covered = np.mean([score.low <= share <= score.high for score in scores])
    assert 0.92 < covered < 0.985


def test_proportion_interval_is_scipys_wilson_interval():
    for hits in (0, 1, 19, 20):
        score = proportion_interval(hits, 20, 0.95, "")
        expected = stats.binomtest(hits, 20).proportion_ci(0.95, method="wilson")
        assert (score.low, score.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert score.low <= score.value <= score.high
    assert proportion_interval(20, 20, 0.95, "").low < 0.9


def test_bootstrap_interval_is_centred_on_the_value_not_on_the_replicates():
    score = bootstrap_interval(1.0, [11.0, 13.0], 50, 0.95, "p", (0.0, math.inf))
    half_width = stats.t.ppf(0.975, 1) * math.sqrt(2)
    assert (score.value, score.low, score.high) == (1.0, 0.0, pytest.approx(1.0 + half_width))
    assert score.num_samples == 50
    assert score.protocol == "p; 0.95 interval of 2 bootstrap replicates"


def test_bootstrap_counts_are_multinomial_and_follow_the_seed():
    counts = np.array(list(bootstrap_counts(40, 4000, np.random.default_rng(3))))
    again = np.array(list(bootstrap_counts(40, 4000, np.random.default_rng(3))))
    other = np.array(list(bootstrap_counts(40, 4000, np.random.default_rng(4))))
    assert (counts == again).all() and (counts != other).any()
    assert (counts.sum(axis=1) == 40).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(40), abs=0.08)
    assert counts.var() == pytest.approx(1 - 1 / 40, rel=0.02)


def test_higher_confidence_is_wider_and_more_images_are_narrower():
    values = np.random.default_rng(5).normal(size=400)

    def width(score):
        return score.high - score.low

    assert width(mean_interval(values, 0.99, "")) > width(mean_interval(values, 0.9, ""))
    assert width(mean_interval(values, 0.9, "")) < width(mean_interval(values[:50], 0.9, ""))


def test_bounds_cut_the_interval_and_never_exclude_the_value():
    score = mean_interval([1.0, 1.0, 0.7], 0.95, "", (0.0, 1.0))
    assert score.high == 1.0 and score.low < score.value
    constant = mean_interval([0.1 + 0.2, 0.3, 0.3], 0.95, "", (0.0, 0.3))
    assert constant.low <= constant.value <= constant.high


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]])
def test_mean_interval_refuses_what_has_no_interval(values):
    with pytest.raises(EvaluationError, match="at least 2 images"):
        mean_interval(values, 0.95, "")


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, -0.5, math.nan])
def test_confidence_must_be_a_share(confidence):
    with pytest.raises(EvaluationError, match="evaluation.confidence"):
        mean_interval([1.0, 2.0], confidence, "")
    with pytest.raises(EvaluationError, match="evaluation.confidence"):
        proportion_interval(1, 2, confidence, "")


def test_share_of_nothing_is_refused():
    with pytest.raises(EvaluationError, match="0 samples"):
        proportion_interval(0, 0, 0.95, "")


def test_importing_the_metrics_imports_nothing_heavy():
    code = (
        "import sys, atelier.metrics.generation, atelier.metrics.pixels, "
        "atelier.metrics.directions;"
        "sys.exit(str({'torch', 'torchmetrics', 'scipy', 'skimage', 'pandas'} & set(sys.modules) "
        "or ''))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.stderr.strip() == ""


# -- exceedances of an order statistic ---------------------------------------------------------


@pytest.mark.parametrize(
    ("num_samples", "rank", "num_reference"), [(100, 1, 100), (300, 3, 250), (40, 10, 200)]
)
def test_the_interval_of_exceedances_is_the_exact_test_inverted(num_samples, rank, num_reference):
    null = rank / (num_reference + 1)
    hits = stats.betabinom(num_samples, rank, num_reference + 1 - rank)
    for num_hits in range(num_samples + 1):
        score = exceedance_interval(num_hits, num_samples, rank, num_reference, 0.9, "hits")
        assert score.low <= score.value == num_hits / num_samples <= score.high
        assert (score.low > null) == (hits.sf(num_hits - 1) < 0.05)
        assert (score.high < null) == (hits.cdf(num_hits) < 0.05)


def test_the_interval_of_exceedances_covers_their_share_as_often_as_said():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(500):
        bound = np.sort(rng.random(200))[19]  # the 20th of 200; its share is 20 / 201 on average
        score = exceedance_interval(int((rng.random(150) < bound).sum()), 150, 20, 200, 0.9, "hits")
        covered.append(score.low <= 20 / 201 <= score.high)
    assert 0.88 < np.mean(covered) < 0.97
