"""The plan, and the doctor's findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from atelier.ui.quantities import about_bytes, about_seconds
from atelier.ui.tables import STATE_STYLES, console, plain

if TYPE_CHECKING:
    from atelier.factory.plan import Item
    from atelier.operate.doctor import Check


def print_plan(stages: Sequence[Item]) -> None:
    """What is fresh, stale or missing, why, what a run would do, and how long that takes."""
    columns = ("", "kind", "state", "a run would", "takes about", "because")
    table = Table(*columns, title="Plan", title_justify="left")
    for stage in stages:
        state = plain(stage.state, style=STATE_STYLES[stage.state])
        action = plain(stage.action or "do nothing")
        time = "" if stage.seconds is None else about_seconds(stage.seconds)
        table.add_row(plain(stage.name), stage.kind, state, action, time, plain(*stage.reasons))
    console().print(table)
    total = add_up(stages)
    if total:
        console().print(plain(total), soft_wrap=True)


def add_up(stages: Sequence[Item]) -> str:
    """One sentence: time and disk of all that would be done, as far as it is known."""
    seconds = [stage.seconds for stage in stages if stage.seconds is not None]
    sizes = [stage.bytes for stage in stages if stage.bytes is not None]
    parts = []
    if seconds:
        parts.append(f"{about_seconds(sum(seconds))} of training")
    if sizes:
        parts.append(f"{about_bytes(sum(sizes))} of disk")
    if not parts:
        return ""
    unknown = [stage.name for stage in stages if stage.action == "train" and stage.seconds is None]
    beside = f", without {', '.join(unknown)}: not known" if unknown else ""
    return f"About {' and '.join(parts)}{beside}."


def print_checks(checks: Sequence[Check]) -> None:
    """The doctor's findings."""
    table = Table("", "check", "found", "what to do")
    for check in checks:
        verdict = "[green]ok[/]" if check.ok else "[red]no[/]"
        table.add_row(verdict, plain(check.name), plain(check.found), plain(check.advice))
    console().print(table)
