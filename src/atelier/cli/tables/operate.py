"""`atelier status` for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from atelier.ui.tables import console, plain

STYLES = {"up": "green", "failed": "red", "gone": "red"}


def print_status(answer: Mapping[str, Any]) -> None:
    """The parts, the schedules, who is at work, and what waits."""
    terminal = console()
    if not answer["parts"]:
        terminal.print(plain("the stack is down: atelier up"))
    else:
        terminal.print(_parts(answer["parts"]))
    if answer["schedules"]:
        terminal.print(_schedules(answer["schedules"]))
    terminal.print(plain(f"at work: {answer['at_work'] or 'nobody'}"))
    for version in answer["waiting"]:
        terminal.print(plain(f"waits for approval: {version} (atelier approve)"))
    for problem in answer["problems"]:
        terminal.print(plain(f"problem: {problem}"))


def _parts(parts: list[Mapping[str, Any]]) -> Table:
    columns = ("part", "state", "address", "pid", "since", "MB", "restarts")
    table = Table(*columns, title="Stack", title_justify="left")
    for part in parts:
        lines = [part["state"]]
        if part["problem"]:
            lines.append(part["problem"])
        table.add_row(
            part["part"],
            plain(*lines, style=STYLES.get(part["state"], "")),
            *(_cell(part[key]) for key in ("address", "pid", "since", "memory_mb", "restarts")),
        )
    total = sum(part["memory_mb"] or 0 for part in parts)
    table.add_row("all", "", "", "", "", plain(total), "")
    return table


def _cell(value: Any) -> Text:
    """A value as text; nothing for None."""
    return plain("" if value is None else value)


def _schedules(schedules: list[Mapping[str, Any]]) -> Table:
    columns = ("schedule", "when", "last", "what it did", "next")
    table = Table(*columns, title="Schedules", title_justify="left")
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
