"""`atelier status` for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from atelier.ui.tables import console, plain

STYLES = {"up": "green", "failed": "red", "gone": "red"}


def print_status(found: Mapping[str, Any]) -> None:
    """The parts, the schedules, who is at work, and what waits."""
    terminal = console()
    if not found["parts"]:
        terminal.print(plain("the stack is down: atelier up"))
    else:
        terminal.print(_parts(found["parts"]))
    if found["schedules"]:
        terminal.print(_schedules(found["schedules"]))
    terminal.print(plain(f"at work: {found['at_work'] or 'nobody'}"))
    for version in found["waiting"]:
        terminal.print(plain(f"waits for approval: {version} (atelier approve)"))
    for problem in found["problems"]:
        terminal.print(plain(f"problem: {problem}"))


def _parts(parts: list[Mapping[str, Any]]) -> Table:
    table = Table(
        "part",
        "state",
        "address",
        "pid",
        "since",
        "MB",
        "restarts",
        title="Stack",
        title_justify="left",
    )
    for part in parts:
        state = plain(
            part["state"],
            *([part["problem"]] if part["problem"] else []),
            style=STYLES.get(part["state"], ""),
        )
        row = [part["address"], part["pid"], part["since"], part["memory_mb"], part["restarts"]]
        table.add_row(
            part["part"], state, *(plain("" if value is None else value) for value in row)
        )
    total = sum(part["memory_mb"] or 0 for part in parts)
    table.add_row("all", "", "", "", "", plain(total), "")
    return table


def _schedules(schedules: list[Mapping[str, Any]]) -> Table:
    table = Table(
        "schedule", "when", "last", "what it did", "next", title="Schedules", title_justify="left"
    )
    for schedule in schedules:
        last = schedule["last"] or {"at": "never", "state": "", "message": ""}
        table.add_row(
            plain(schedule["schedule"]),
            plain(schedule["when"]),
            plain(f"{last['at']} {last['state']}".strip()),
            plain(last["message"]),
            plain(schedule["next"] or "none"),
        )
    return table
