"""The quality blessing (floors and slices hold), and the test that a version is the better one.

Everything here is arithmetic on what evaluations left behind; the rest of the room reads and
writes the registry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from atelier.metrics.directions import higher_is_better
from atelier.params import Gate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

ScoreTable = Mapping[str, Mapping[str, float]]  # {metric: {"value", "low", "high"}}
MIN_UNITS = 20  # of a slice: with fewer Student's t is at the mercy of single images


@dataclass(frozen=True)
class Measured:
    """What an evaluation found of one version.

    Attributes:
        name: of the version, `model/number`.
        scores: its metrics with their intervals.
        units: its metrics for each image or block (`Evaluated.units`); None for versions of before
            that was kept.
    """

    name: str
    scores: ScoreTable
    units: pd.DataFrame | None


@dataclass(frozen=True)
class Comparison:
    """A paired one-sided test on the differences of two versions, unit by unit.

    Attributes:
        metric: what is compared.
        champion: the version that it is compared with.
        num_units: images or blocks that both were scored on.
        difference: mean of new minus champion, in the direction of better: above 0 is better.
        at_least: lower end of the one-sided interval of coverage 1 - alpha around the difference.
        margin: what the difference has to exceed.
        p: probability of such a difference, or a larger one, if the true one were the margin.
        alpha: the test is passed if p is smaller.
    """

    metric: str
    champion: str
    num_units: int
    difference: float
    at_least: float
    margin: float
    p: float
    alpha: float

    @property
    def better(self) -> bool:
        """Whether the test is passed."""
        return self.p < self.alpha


@dataclass(frozen=True)
class Quality:
    """What the gate finds of a version.

    Attributes:
        failures: why the quality blessing is refused; none: it is given.
        better: whether it is proven better than the champion; True if there is none.
        reasons: for the second, sentences for people.
        comparison: the test behind it, if there was one.
    """

    failures: tuple[str, ...]
    better: bool
    reasons: tuple[str, ...]
    comparison: Comparison | None = None

    def as_json(self) -> dict[str, Any]:
        """As it is stored with the version."""
        return {"blessed": not self.failures, **asdict(self)}


def judge(gate: Gate, alpha: float, new: Measured, champion: Measured | None) -> Quality:
    """Hold a version against the floors, and against the champion where there is one.

    Args:
        gate: the rules for this kind of model.
        alpha: accepted probability of promoting a version that is no better, and of rejecting one
            for a slice in which it is no worse than allowed.
        new: the version.
        champion: scored on the same test images; None: the version is the first.
    """
    failures = tuple(floor_failures(gate, new.scores))
    if not failures and not _measured(gate.metric, new.scores):
        failures = (f"{gate.metric} was not measured, and it decides promotion",)
    if champion is None:
        return Quality(
            failures, True, (f"no champion before it; {_show(gate.metric, new.scores)}",)
        )
    if failures:
        return Quality(failures, False, ("below a floor",))
    failures = tuple(slice_failures(gate, alpha, new, champion))
    if not _measured(gate.metric, champion.scores):
        return Quality(
            failures, False, (f"not proven better: {champion.name} has no {gate.metric}",)
        )
    pairs = paired_units(gate.metric, new.units, champion.units)
    if pairs is None:
        return Quality(failures, *_by_intervals(gate, new, champion))
    comparison = compare(
        gate.metric, improvements_N(gate.metric, pairs), champion.name, gate.margin, alpha
    )
    return Quality(failures, comparison.better, (_in_words(comparison),), comparison)


def floor_failures(gate: Gate, scores: ScoreTable) -> list[str]:
    """One sentence for each floor that doesn't hold, also for want of a number."""
    failures = []
    for metric, floor in gate.floors.items():
        value = scores.get(metric, {}).get("value", math.nan)
        holds = value >= floor if higher_is_better(metric) else value <= floor
        if math.isnan(value):
            failures.append(f"{metric} was not measured; its floor is {floor:g}")
        elif not holds:
            side = "below" if higher_is_better(metric) else "above"
            failures.append(f"{metric} is {value:.4g}, {side} the floor {floor:g}")
    return failures


def slice_failures(gate: Gate, alpha: float, new: Measured, champion: Measured) -> list[str]:
    """One sentence for each slice in which a version is proven worse than is allowed.

    Each of the k slices is tested at alpha / k (Bonferroni), so that a version that is nowhere
    worse than allowed is rejected with probability alpha at most.
    """
    pairs = paired_units(gate.metric, new.units, champion.units)
    if gate.slice_margin is None or pairs is None:
        return []
    slices = list(_slices(pairs))
    failures = []
    for name, rows in slices:
        worse = compare(
            gate.metric,
            -improvements_N(gate.metric, rows),
            champion.name,
            gate.slice_margin,
            alpha / len(slices),
        )
        if worse.better:
            failures.append(
                f"worse in the slice {name}: {gate.metric} by {worse.difference:.4g} on "
                f"{worse.num_units} images (at least {worse.at_least:.4g}; allowed is "
                f"{gate.slice_margin:g})"
            )
    return failures


def paired_units(
    metric: str, new: pd.DataFrame | None, champion: pd.DataFrame | None
) -> pd.DataFrame | None:
    """The units that both were scored on, one a line: slices, the metric, and `champion`'s.

    None if the metric isn't one of single units, or they have fewer than two in common.
    """
    if new is None or champion is None or metric not in new or metric not in champion:
        return None
    theirs = champion[["unit", metric]].rename(columns={metric: "champion"})
    pairs = new.merge(theirs, on="unit", validate="one_to_one")
    return pairs if len(pairs) > 1 else None


def improvements_N(metric: str, pairs: pd.DataFrame) -> NDArray[np.float64]:
    """New minus champion for each of N units, in the direction of better."""
    differences_N: NDArray[np.float64] = (pairs[metric] - pairs["champion"]).to_numpy("float64")
    return differences_N if higher_is_better(metric) else -differences_N


def compare(
    metric: str, improvements_N: NDArray[np.float64], champion: str, margin: float, alpha: float
) -> Comparison:
    """Student's paired t test of "the mean improvement exceeds the margin", one-sided.

    Args:
        metric: what was measured.
        improvements_N: of N >= 2 independent units, above 0 is better.
        champion: name of what it is compared with.
        margin: in units of the metric.
        alpha: size of the test, in (0, 1).

    Source: Student 1908, The probable error of a mean, Biometrika 6(1).
    """
    # Here, for it takes 0.3 s.
    from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped,unused-ignore]

    count = len(improvements_N)
    mean = float(improvements_N.mean())
    error = float(improvements_N.std(ddof=1)) / math.sqrt(count)
    if error > 0:
        p = float(stdtr(count - 1, (margin - mean) / error))
    else:  # all units improve alike: the same weights, or a constant
        p = 0.0 if mean > margin else 1.0
    at_least = mean - float(stdtrit(count - 1, 1 - alpha)) * error
    return Comparison(metric, champion, count, mean, at_least, margin, p, alpha)


def _slices(pairs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each value of each column of text, with the units that have it, if there are enough."""
    from pandas.api.types import is_numeric_dtype

    for column in pairs.columns.drop("unit"):
        if not is_numeric_dtype(pairs[column]):
            for value, rows in pairs.groupby(column):
                if len(rows) >= MIN_UNITS:
                    yield f"{column} {value}", rows


def _by_intervals(gate: Gate, new: Measured, champion: Measured) -> tuple[bool, tuple[str]]:
    """For a metric of the whole set (FD, CAS), which has no pairs: the intervals must lie apart."""
    metric = gate.metric
    ours = new.scores[metric]
    theirs = champion.scores[metric]
    if higher_is_better(metric):
        better = ours["low"] > theirs["high"] + gate.margin
    else:
        better = ours["high"] < theirs["low"] - gate.margin
    shown = (
        f"{_show(metric, new.scores)} against {champion.name}'s {_show(metric, champion.scores)}"
    )
    return better, (f"{'better, intervals apart' if better else 'not proven better'}: {shown}",)


def _in_words(found: Comparison) -> str:
    sign = "+" if (found.difference >= 0) == higher_is_better(found.metric) else "-"
    verdict = "better" if found.better else "not proven better"
    margin = f", margin {found.margin:g}" if found.margin else ""
    return (
        f"{verdict} than {found.champion}: {found.metric} {sign}{abs(found.difference):.4g} on "
        f"{found.num_units} pairs (p = {found.p:.2g}, alpha {found.alpha:g}{margin})"
    )


def _measured(metric: str, scores: ScoreTable) -> bool:
    return metric in scores and not any(math.isnan(part) for part in scores[metric].values())


def _show(metric: str, scores: ScoreTable) -> str:
    if not _measured(metric, scores):
        return f"{metric} not measured"
    score = scores[metric]
    return f"{metric} {score['value']:.4g} [{score['low']:.4g}, {score['high']:.4g}]"
