"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from atelier.registry.records import gone, reasons_in, scores_in

if TYPE_CHECKING:
    from atelier.doctor import Check
    from atelier.plan import Item
    from atelier.registry import Entry, Registry, Version

SHOWN_METRICS = (  # the ones a table has room for; `atelier history --json` has all
    "accuracy", "macro_f1", "kid_classifier", "fd_classifier", "kid_efficientnet", "fid", "kid_inception", "cas",
    "memorisation", "psnr", "ssim", "psnr_gain", "accuracy_gain",
    "psnr_difference", "kid_classifier_difference",
)  # fmt: skip
STATE_STYLES = {"fresh": "green", "stale": "yellow", "missing": "cyan"}
VERDICT_STYLES = {"promoted": "green", "approved": "green", "rejected": "red", "rolled back": "red"}


def console() -> Console:
    """The terminal; a pipe or a file gets lines that are long enough for the tables."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=120)


def plain(*lines: object, style: str = "") -> Text:
    """Lines of text as a terminal shows them letter by letter: none of it is rich's markup or moves the cursor.

    What people wrote (reasons, names, files, messages) goes to the terminal through this, never as markup.
    """
    text = "\n".join(str(line) for line in lines)
    letters = (letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
    return Text("".join(letters), style)


def stacked(*lines: Text) -> Text:
    """Lines of different styles, one below the other."""
    return Text("\n").join(lines)


def print_plan(items: Iterable[Item]) -> None:
    """What is fresh, stale or missing, why, and what a run would do."""
    table = Table("", "kind", "state", "a run would", "because", title="Plan", title_justify="left")
    for item in items:
        state = plain(item.state, style=STATE_STYLES[item.state])
        table.add_row(plain(item.name), item.kind, state, plain(item.action or "do nothing"), plain(*item.reasons))
    console().print(table)


def print_results(registry: Registry, models: Sequence[str]) -> None:
    """The newest version of each model: scores, verdict."""
    newest = [registry.versions(name)[-1:] for name in models]
    print_history([history_entry(registry, version) for versions in newest for version in versions])
    where = (
        plain(registry.uri)
        if registry.uri.startswith("http")
        else "[bold]mlflow ui[/] here, then http://127.0.0.1:5000"
    )
    console().print(f"All scores and pictures: {where}", highlight=False)


def history_entry(registry: Registry, version: Version) -> dict[str, Any]:
    """One version as plain JSON types."""
    tags = version.tags
    record = registry.runs.record(version.run_id)
    return {
        "model": version.model,
        "version": version.number,
        "aliases": list(version.aliases),
        "created": version.created,
        "metrics": scores_in(record.metrics) if record else {},
        "verdict": tags.get("verdict"),
        "reasons": [*reasons_in(tags), *filter(None, [gone(record, version.run_id)])],
        "fingerprint": tags.get("fingerprint"),
        "git_commit": tags.get("git.commit"),
        "data_md5": tags.get("data.md5"),
        "built_from": tags.get("built.from"),
        "run_id": version.run_id,
    }


def print_history(entries: Iterable[Mapping[str, Any]]) -> None:
    """Versions with their main scores."""
    table = Table("model", "scores with intervals", "verdict")
    for entry in entries:
        verdict = entry["verdict"] or "not judged"
        style = VERDICT_STYLES.get(verdict, "yellow")
        name = [plain(f"{entry['model']}/{entry['version']}"), plain(entry["created"], style="dim")]
        if entry["built_from"]:
            name.append(plain(f"from {entry['built_from']}", style="dim"))
        if entry["aliases"]:
            name.append(plain(", ".join(entry["aliases"]), style="bold"))
        why = [plain(verdict, style=style), *map(plain, entry["reasons"])]
        table.add_row(stacked(*name), _scores(entry["metrics"]), stacked(*why))
        table.add_section()
    console().print(table)


def _scores(metrics: Mapping[str, Mapping[str, float]]) -> Text:
    shown = [(name, metrics[name]) for name in SHOWN_METRICS if name in metrics]
    return plain(*(f"{name} {s['value']:.4g} [{s['low']:.4g}, {s['high']:.4g}]" for name, s in shown))


def print_warnings(lines: Iterable[str]) -> None:
    """What somebody should look at."""
    for line in lines:
        console().print(plain(line, style="yellow"))


def print_ledger(entries: Iterable[Entry]) -> None:
    """What was decided, oldest first."""
    table = Table("", "when, by whom", "about", "decision", "champion", "why")
    for entry in entries:
        decision = entry.decision
        style = VERDICT_STYLES.get(decision.action, "yellow")
        champion = f"{decision.champion_before or 'none'} -> {decision.champion or 'none'}"
        table.add_row(
            stacked(plain(entry.sequence), plain(entry.hash[:8], style="dim")),
            stacked(plain(decision.at), plain(decision.who, style="dim")),
            plain(f"{decision.model}/{decision.version}"),
            plain(decision.action, style=style).append(" (interrupted)" if entry.is_open else "", style="default"),
            plain(champion if decision.champion_before != decision.champion else str(decision.champion or "none")),
            plain(*decision.reasons),
        )
    console().print(table)


def print_checks(checks: Iterable[Check]) -> None:
    """The doctor's findings."""
    table = Table("", "check", "found", "what to do")
    for check in checks:
        table.add_row(
            "[green]ok[/]" if check.ok else "[red]no[/]", plain(check.name), plain(check.found), plain(check.advice)
        )
    console().print(table)
