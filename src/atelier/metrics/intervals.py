"""A number with its interval, and the five ways in which the metrics get one.

Shapes: N samples, R bootstrap replicates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atelier.errors import EvaluationError

UNBOUNDED = (-math.inf, math.inf)
UNIT = (0.0, 1.0)


@dataclass(frozen=True)
class Score:
    """One metric of one model: `low <= value <= high`.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        num_samples: how many images the value rests on.
        protocol: how the value and its interval were computed; two scores compare only if their
            protocols agree.
    """

    value: float
    low: float
    high: float
    num_samples: int
    protocol: str


def mean_interval(
    values_N: ArrayLike, confidence: float, protocol: str, bounds: tuple[float, float] = UNBOUNDED
) -> Score:
    """Mean of independent values with Student's t interval.

    Also the paired comparison of two models: give it the differences per image.

    Args:
        values_N: one finite value per image or per block, N >= 2.
        confidence: coverage of the interval, in (0, 1).
        protocol: how the values were computed; the interval's method is appended.
        bounds: range of the metric; the interval is cut to it.

    Returns:
        The mean and mean -+ t_{N-1} * std / sqrt(N).

    Raises:
        EvaluationError: if there are fewer than 2 values, or one is not finite.

    Source: Student 1908, The probable error of a mean, Biometrika 6(1).
    """
    values = np.asarray(values_N, dtype=np.float64)
    num_bad = int(np.count_nonzero(~np.isfinite(values)))
    if values.ndim != 1 or values.size < 2 or num_bad:
        raise EvaluationError(
            f"mean_interval: got values of shape {values.shape}, {num_bad} of them NaN or "
            "infinite. It needs one "
            "finite value per image, and at least 2 images. Evaluate more images; look at those "
            "without a value."
        )
    value = float(values.mean())
    half_width = (
        _t_quantile(values.size - 1, confidence)
        * float(values.std(ddof=1))
        / math.sqrt(values.size)
    )
    return _around(
        value,
        half_width,
        bounds,
        values.size,
        f"{protocol}; {confidence:.4g} t interval of the mean",
    )


def proportion_interval(num_hits: int, num_samples: int, confidence: float, protocol: str) -> Score:
    """Share of hits with Wilson's interval, which keeps its width at 0 % and at 100 %.

    Args:
        num_hits: how many samples are hits, 0 <= num_hits <= num_samples.
        num_samples: how many samples there are, at least 1.
        confidence: coverage of the interval, in (0, 1).
        protocol: what a hit is; the interval's method is appended.

    Returns:
        The share, in [0, 1].

    Raises:
        EvaluationError: if there is no sample.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference, JASA
    22(158).
    """
    if num_samples < 1:
        raise EvaluationError(
            "proportion_interval: got 0 samples, a share needs at least 1. Give it images of that "
            "kind."
        )
    assert 0 <= num_hits <= num_samples
    z = NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
    share = num_hits / num_samples
    shrink = 1 + z * z / num_samples
    centre = (share + z * z / (2 * num_samples)) / shrink
    half_width = (
        z / shrink * math.sqrt(share * (1 - share) / num_samples + (z / (2 * num_samples)) ** 2)
    )
    low, high = max(0.0, centre - half_width), min(1.0, centre + half_width)
    # At 0 and at num_samples hits the end equals the share up to rounding.
    return Score(
        share,
        min(low, share),
        max(high, share),
        num_samples,
        f"{protocol}; {confidence:.4g} Wilson interval",
    )


def exceedance_interval(
    num_hits: int, num_samples: int, rank: int, num_reference: int, confidence: float, protocol: str
) -> Score:
    """Share of samples that lie below a reference sample's order statistic.

    The interval knows that both are samples.

    If both come from one continuous distribution, whichever that is, the hits are beta-binomial
    with parameters (rank, num_reference + 1 - rank): an exact test. The interval holds the shares s
    that this test with rank = s * (num_reference + 1) doesn't refuse, so it leaves out rank /
    (num_reference + 1) as often as it may.

    Args:
        num_hits: how many samples lie below, 0 <= num_hits <= num_samples.
        num_samples: how many samples there are, at least 1.
        rank: which of the reference sample, from the lowest on, is the bound; 1 <= rank <=
            num_reference.
        num_reference: size of the reference sample.
        confidence: coverage of the interval, in (0, 1); each end errs with half of the rest.
        protocol: what a hit is; the interval's method is appended.

    Returns:
        The share, in [0, 1].

    Source: exceedances of an order statistic: Gumbel and von Schelling 1950, Annals of Mathematical
    Statistics 21(2);
        their test inverted as Clopper and Pearson 1934 do with the binomial one.
    """
    assert 0 <= num_hits <= num_samples and 1 <= rank <= num_reference
    tail = (1 - _checked(confidence)) / 2
    low = _share_with_tail(num_hits, num_samples, num_reference, tail) if num_hits else 0.0
    high = (
        _share_with_tail(num_hits + 1, num_samples, num_reference, 1 - tail)
        if num_hits < num_samples
        else 1.0
    )
    share = num_hits / num_samples
    how = f"{confidence:.4g} interval of the beta-binomial test"
    return Score(share, min(low, share), max(high, share), num_samples, f"{protocol}; {how}")


def bootstrap_interval(
    value: float,
    replicates_R: ArrayLike,
    num_samples: int,
    confidence: float,
    protocol: str,
    bounds: tuple[float, float] = UNBOUNDED,
) -> Score:
    """Interval of a statistic from its bootstrap standard error.

    Value -+ t_{R-1} * std of the replicates.

    Not the percentiles of the replicates: distances, entropies and F1 are biased by the sample
    size, resampling adds the same bias a second time, and the percentile interval of a Frechet
    distance can lie wholly above its value.

    Args:
        value: the statistic of the sample itself.
        replicates_R: the statistic of R >= 2 resampled data sets.
        num_samples: how many images the value rests on.
        confidence: coverage of the interval, in (0, 1).
        protocol: how the value was computed; the interval's method is appended.
        bounds: range of the metric; the interval is cut to it.

    Returns:
        The value with its interval.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 6 (standard
    errors).
    """
    replicates = np.asarray(replicates_R, dtype=np.float64)
    half_width = _t_quantile(replicates.size - 1, confidence) * float(replicates.std(ddof=1))
    how = f"{confidence:.4g} interval of {replicates.size} bootstrap replicates"
    return _around(value, half_width, bounds, num_samples, f"{protocol}; {how}")


def bootstrap_counts(
    num_samples: int, num_replicates: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """How often every sample is drawn in one bootstrap replicate.

    One replicate at a time, so that memory stays flat.

    Args:
        num_samples: N, samples to draw from and to draw.
        num_replicates: how many replicates to yield.
        rng: the only source of randomness.

    Yields:
        counts_N: multinomial counts, >= 0, that sum to N.
    """
    for _ in range(num_replicates):
        # Drawing N indices and counting them is the same distribution as rng.multinomial, 5 times
        # faster at N = 10,000.
        yield np.bincount(rng.integers(num_samples, size=num_samples), minlength=num_samples)


def _share_with_tail(
    num_hits: int, num_samples: int, num_reference: int, probability: float
) -> float:
    """The share of which at least so many hits have this probability, found by bisection."""
    from scipy.special import betaln, gammaln  # type: ignore[import-untyped,unused-ignore]

    hits = np.arange(num_hits, num_samples + 1)
    ways = gammaln(num_samples + 1) - gammaln(hits + 1) - gammaln(num_samples - hits + 1)
    low, high = 0.0, 1.0
    for _ in range(40):  # to 1e-12
        middle = (low + high) / 2
        a, b = middle * (num_reference + 1), (1 - middle) * (num_reference + 1)
        at_least = np.exp(ways + betaln(hits + a, num_samples - hits + b) - betaln(a, b)).sum()
        low, high = (middle, high) if at_least < probability else (low, middle)
    return middle


def _around(
    value: float, half_width: float, bounds: tuple[float, float], num_samples: int, protocol: str
) -> Score:
    low, high = max(bounds[0], value - half_width), min(bounds[1], value + half_width)
    # Rounding may put a value at the edge of its range just outside (a mean of ones can be 1 +
    # 1e-16).
    return Score(value, min(low, value), max(high, value), num_samples, protocol)


def _t_quantile(degrees_of_freedom: int, confidence: float) -> float:
    from scipy.special import stdtrit  # type: ignore[import-untyped,unused-ignore]

    return float(stdtrit(degrees_of_freedom, 0.5 + _checked(confidence) / 2))


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise EvaluationError(
            f"evaluation.confidence = {confidence} is not between 0 and 1. Give the coverage as a "
            "share, such as 0.95."
        )
    return confidence
