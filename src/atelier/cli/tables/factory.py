"""The plan, and the doctor's findings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from atelier.ui.tables import STATE_STYLES, console, plain

if TYPE_CHECKING:
    from atelier.factory.plan import Item
    from atelier.operate.doctor import Check


def print_plan(stages: Iterable[Item]) -> None:
    """What is fresh, stale or missing, why, and what a run would do."""
    columns = ("", "kind", "state", "a run would", "because")
    table = Table(*columns, title="Plan", title_justify="left")
    for stage in stages:
        state = plain(stage.state, style=STATE_STYLES[stage.state])
        action = plain(stage.action or "do nothing")
        table.add_row(plain(stage.name), stage.kind, state, action, plain(*stage.reasons))
    console().print(table)


def print_checks(checks: Iterable[Check]) -> None:
    """The doctor's findings."""
    table = Table("", "check", "found", "what to do")
    for check in checks:
        verdict = "[green]ok[/]" if check.ok else "[red]no[/]"
        table.add_row(verdict, plain(check.name), plain(check.found), plain(check.advice))
    console().print(table)
