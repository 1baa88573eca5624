"""Versions with their scores and verdicts, and the ledger of all decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from atelier.review.history import history_entry
from atelier.ui.tables import SHOWN_METRICS, VERDICT_STYLES, console, plain, stack_lines

if TYPE_CHECKING:
    from atelier.registry import Entry, Registry


def print_results(registry: Registry, models: Sequence[str]) -> None:
    """The newest version of each model: scores, verdict."""
    entries = []
    for name in models:
        for version in registry.versions(name)[-1:]:
            entries.append(history_entry(registry, version))
    print_history(entries)
    if registry.uri.startswith("http"):
        where = plain(registry.uri)
    else:
        where = Text.from_markup("[bold]mlflow ui[/] here, then http://127.0.0.1:5000")
    console().print(Text("All scores and pictures: ").append_text(where), highlight=False)


def print_history(entries: Iterable[Mapping[str, Any]]) -> None:
    """Versions with their main scores."""
    table = Table("model", "scores with intervals", "verdict")
    for entry in entries:
        verdict = entry["verdict"] or "not judged"
        style = VERDICT_STYLES.get(verdict, "yellow")
        why = [plain(verdict, style=style), *map(plain, entry["reasons"])]
        table.add_row(_name(entry), _scores(entry["metrics"]), stack_lines(*why))
        table.add_section()
    console().print(table)


def _name(entry: Mapping[str, Any]) -> Text:
    lines = [plain(f"{entry['model']}/{entry['version']}"), plain(entry["created"], style="dim")]
    if entry["built_from"]:
        lines.append(plain(f"from {entry['built_from']}", style="dim"))
    if entry["aliases"]:
        lines.append(plain(", ".join(entry["aliases"]), style="bold"))
    return stack_lines(*lines)


def _scores(metrics: Mapping[str, Mapping[str, float]]) -> Text:
    lines = []
    for name in SHOWN_METRICS:
        if name in metrics:
            score = metrics[name]
            interval = f"[{score['low']:.4g}, {score['high']:.4g}]"
            lines.append(f"{name} {score['value']:.4g} {interval}")
    return plain(*lines)


def print_ledger(entries: Iterable[Entry]) -> None:
    """What was decided, oldest first."""
    table = Table("", "when, by whom", "about", "decision", "champion", "why")
    for entry in entries:
        decision = entry.decision
        action = plain(decision.action, style=VERDICT_STYLES.get(decision.action, "yellow"))
        if entry.is_open:
            action.append(" (interrupted)", style="default")
        champion = str(decision.champion or "none")
        if decision.champion != decision.champion_before:
            champion = f"{decision.champion_before or 'none'} -> {champion}"
        table.add_row(
            stack_lines(plain(entry.sequence), plain(entry.hash[:8], style="dim")),
            stack_lines(plain(decision.at), plain(decision.who, style="dim")),
            plain(f"{decision.model}/{decision.version}"),
            action,
            plain(champion),
            plain(*decision.reasons),
        )
    console().print(table)
