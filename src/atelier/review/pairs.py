"""Scores of two versions by pairs of the same units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from atelier.errors import EvaluationError
from atelier.metrics.directions import higher_is_better
from atelier.metrics.intervals import mean_interval

if TYPE_CHECKING:
    import pandas as pd

CONTENT_HASH = re.compile(r"[0-9a-f]{64}")


def paired_rows(
    a: pd.DataFrame, b: pd.DataFrame, same_data: bool, confidence: float
) -> Iterator[dict[str, Any]]:
    """Differences B minus A of the units that both have: of all of them, and of each slice.

    Args:
        a: a line for each unit: `unit`, slices (text), metrics (numbers).
        b: the same, of the other one.
        same_data: whether both were scored on the same test data. Units that are images may be
            compared in any case, numbered blocks of images only then.
        confidence: coverage of the intervals, in (0, 1).

    Yields:
        metric, slice, means a and b, difference with its t interval, number of units, and which of
        the two is better.
    """
    if not same_data and not all(CONTENT_HASH.fullmatch(unit) for unit in a["unit"]):
        return
    shared = [name for name in a.columns if name in b.columns and name != "unit"]
    metrics = [name for name in shared if a[name].dtype.kind in "fi"]
    texts = [name for name in shared if name not in metrics]
    for slice_name, units in _slices(a.merge(b, on="unit", suffixes=("_a", "_b")), texts):
        if len(units) < 2:
            continue
        for metric in metrics:
            a_N = units[f"{metric}_a"].to_numpy()
            b_N = units[f"{metric}_b"].to_numpy()
            yield _paired_row(metric, slice_name, a_N, b_N, confidence)


def _slices(units: pd.DataFrame, texts: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """All units, then those of each value of each text."""
    yield "all", units
    for text in texts:
        for value, part in units.groupby(f"{text}_b"):
            yield f"{text}:{value}", part


def _paired_row(
    metric: str, slice_name: str, a_N: Any, b_N: Any, confidence: float
) -> dict[str, Any]:
    score = mean_interval(b_N - a_N, confidence, "paired difference")
    better = "not proven"
    if score.low > 0 or score.high < 0:
        try:
            better = "b" if (score.value > 0) == higher_is_better(metric) else "a"
        except EvaluationError:  # no metric whose direction is known
            better = "different"
    return {
        "metric": metric,
        "slice": slice_name,
        "a": float(a_N.mean()),
        "b": float(b_N.mean()),
        "difference": score.value,
        "low": score.low,
        "high": score.high,
        "num_units": score.num_samples,
        "better": better,
    }


def plain_row(metric: str, a: float, b: float) -> dict[str, Any]:
    """Two scores that have no units in common; what their difference proves is not known."""
    return {
        "metric": metric,
        "slice": "all",
        "a": a,
        "b": b,
        "difference": b - a,
        "low": None,
        "high": None,
        "num_units": None,
        "better": "untested",
    }
