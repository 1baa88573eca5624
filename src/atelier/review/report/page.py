"""The report as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping

from atelier.review.report import links
from atelier.review.report.contents import History, ModelHistory
from atelier.review.report.timeline import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, timeline
from atelier.ui.pages import render

OPEN_ROWS = 10  # of a long table; the others are folded away


def render_report(history: History, written: str) -> str:
    """Make the page; whatever comes from parameters, data or people is escaped.

    Args:
        history: of `gather`.
        written: time, ISO 8601, UTC.
    """
    return render(
        "report.html",
        {"moment": moment, "short": short, "score": score, "duration": duration},
        history=history,
        written=written,
        uri=links.without_password(history.uri),
        mlflow=links.mlflow_address(history.uri),
        links=links,
        prefect=links.prefect_address(),
        versions=sum(len(model.lines) for model in history.models),
        timelines={model.name: timeline(model) for model in history.models},
        area={
            "height": HEIGHT,
            "top": TOP,
            "bottom": BOTTOM,
            "left": LEFT,
            "right": RIGHT,
            "narrow": 420,
        },
        open_rows=OPEN_ROWS,
        anchors=anchors(history.models),
    )


def anchors(models: tuple[ModelHistory, ...]) -> Mapping[str, str]:
    """Names of the sections: a model may be called what no attribute should be."""
    return {model.name: f"model-{index}" for index, model in enumerate(models, start=1)}


def moment(iso: str) -> str:
    """2026-11-23T19:38:05Z -> 2026-11-23 19:38."""
    return iso[:16].replace("T", " ")


def short(number: float) -> str:
    """Four digits, or whole thousands: 18.89, 7,312."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def duration(minutes: float) -> str:
    """12 s, 34 min, 5.6 h."""
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:,.1f} h"


def score(value: Mapping[str, float]) -> str:
    """18.89 [18.81, 18.98]."""
    return f"{value['value']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"
