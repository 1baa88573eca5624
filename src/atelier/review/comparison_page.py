"""Two versions side by side, as a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from atelier.ui.pages import render

Pictures = Mapping[str, Sequence[bytes | None]]  # by file name: PNG of A and of B
VERDICTS = {
    "a": "A is better",
    "b": "B is better",
    "not proven": "not proven",
    "different": "differs",
    "untested": "",
}


def comparison_page(found: Mapping[str, Any], pictures: Pictures) -> str:
    """One HTML file with everything in it; whatever comes from parameters or file names is escaped."""
    inline = {
        name: [base64.b64encode(picture).decode() if picture else "" for picture in pair]
        for name, pair in pictures.items()
    }
    changes = {item["name"]: data_change(item) for item in found["data"]["datasets"]}
    return render(
        "comparison.html", found=found, pictures=inline, changes=changes, verdicts=VERDICTS
    )


def data_change(item: Mapping[str, Any]) -> str:
    """What became of a dataset, in words."""
    if item["a"] == item["b"]:
        return "the same"
    counts = {
        what: item[what] for what in ("added", "removed", "relabelled", "moved") if item.get(what)
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items()) or "another version"
