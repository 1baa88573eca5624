"""Two versions side by side, as a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from atelier.review.comparison import CHANGES
from atelier.ui.pages import render

Pictures = Mapping[str, Sequence[bytes | None]]  # by file name: PNG of A and of B
VERDICTS = {
    "a": "A is better",
    "b": "B is better",
    "not proven": "not proven",
    "different": "differs",
    "untested": "",
}


def comparison_page(comparison: Mapping[str, Any], pictures: Pictures) -> str:
    """One HTML file with everything in it.

    Whatever comes from parameters or file names is escaped.
    """
    datasets = comparison["data"]["datasets"]
    return render(
        "comparison.html",
        found=comparison,
        pictures={name: list(map(_inline, pair)) for name, pair in pictures.items()},
        changes={dataset["name"]: describe_change(dataset) for dataset in datasets},
        verdicts=VERDICTS,
    )


def _inline(picture: bytes | None) -> str:
    return base64.b64encode(picture).decode() if picture else ""


def describe_change(dataset: Mapping[str, Any]) -> str:
    """What became of a dataset, in words."""
    if dataset["a"] == dataset["b"]:
        return "the same"
    counts = [f"{dataset[kind]:,} {kind}" for kind in CHANGES if dataset.get(kind)]
    return ", ".join(counts) or "another version"
