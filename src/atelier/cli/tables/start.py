"""What `atelier init` saw and made, and the values of `atelier params`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from atelier.init.recipes import in_words
from atelier.init.survey import Survey
from atelier.ui.tables import console, plain

NEXT = (
    "git add -A && git commit -m 'A new project' # what `atelier reproduce` goes back to",
    "atelier plan                                # what a run would do, and how long it takes",
    "atelier run                                 # do it",
)


def print_start(report: Mapping[str, Any]) -> None:
    """The pictures, the models that were proposed, the files, and what comes next."""
    terminal = console()
    if report["seen"] is not None:
        seen = Survey(**report["seen"])
        terminal.print(plain(f"{seen.path}: {in_words(seen)}."))
        if seen.unusable:
            count = f"{seen.unusable} of {seen.unusable + seen.looked_at} that were looked at"
            terminal.print(plain(f"{count} can't be read", style="yellow"))
        for warning in seen.warnings:
            terminal.print(plain(warning, style="yellow"))
    is_written = report["files"].get("params.yaml") == "created"
    if report["models"]:
        heading = "proposed in params.yaml" if is_written else "would be proposed"
        table = Table("model", heading)
        for model, reason in report["models"].items():
            table.add_row(plain(model), plain(reason))
        terminal.print(table)
    for word in ("created", "extended", "kept"):
        names = [name for name, done in report["files"].items() if done == word]
        if names:
            terminal.print(plain(f"{word}: {', '.join(names)}"))
    if not is_written:
        terminal.print(plain("params.yaml was there and stays as it is.", style="yellow"))
    terminal.print(plain("Next:", *(f"  {line}" for line in NEXT)))


def print_values(values: Sequence[Mapping[str, Any]]) -> None:
    """Dotted keys, their values, and where these come from."""
    styles = {"file": "", "override": "yellow", "default": "dim"}
    table = Table("key", "value", "from")
    for value in values:
        style = styles[value["origin"]]
        table.add_row(*(plain(value[part], style=style) for part in ("key", "value", "origin")))
    console().print(table)
