"""Tables of the `atelier data` commands for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from atelier.data.splits import SPLITS
from atelier.ui.tables import STATE_STYLES, console, plain

Counts = Mapping[str, Mapping[str, int]]  # {class: {split: number}}


def print_status(found: Mapping[str, Any]) -> None:
    """Datasets with their counts, and the version of data/."""
    for dataset in found["datasets"]:
        state = plain(dataset["state"], style=STATE_STYLES.get(dataset["state"], "dim"))
        parts = plain(dataset["name"]), state, plain("; ".join(dataset["reasons"]))
        console().print(Text("  ").join(parts))
        if dataset["images"]:
            console().print(_counts_table(dataset["images"]))
        for reason, count in dataset["quarantined"].items():
            console().print(plain(f"  {count:,} in quarantine: {reason}"))
    clean = (
        "as in data/"
        if found["clean"]
        else "[yellow]data/ differs from it: run `atelier ingest`[/]"
    )
    remote = {
        True: "all of it in the remote",
        False: "[red]not all of it in the remote: run `atelier ingest`[/]",
    }
    if not found["md5"]:
        console().print(plain("no version yet: run `atelier ingest`"))
        return
    known = found["in_remote"] in remote
    where = (
        Text.from_markup(remote[found["in_remote"]])
        if known
        else plain(found["remote_problem"], style="yellow")
    )
    version = plain(f"version {found['md5']}: ").append_text(Text.from_markup(clean))
    console().print(version.append(", ").append_text(where))


def print_versions(found: Sequence[Mapping[str, Any]]) -> None:
    """Versions with their counts."""
    table = Table("revision", "date", "md5", "MB", "images", "subject")
    for item in found:
        datasets = item["datasets"]
        lines = [
            f"{name}: {sum(counts.values()):,} ({_by_split(counts)})"
            for name, counts in (datasets or {}).items()
        ]
        images = (
            "\n".join(lines) if datasets is not None else "can't be read: not in cache or remote"
        )
        table.add_row(
            item["revision"][:10], (item["date"] or "")[:10], (item["md5"] or "")[:10], f"{item['size'] / 1e6:,.1f}",
            plain(images), plain(item["subject"]),
        )  # fmt: skip
    console().print(table)


def print_changes(found: Mapping[str, Any]) -> None:
    """What differs, one dataset after the other."""
    sides = [
        f"{side['revision']} ({side['md5'] or 'the working copy'})"
        for side in (found["before"], found["after"])
    ]
    console().print(plain(f"from {sides[0]} to {sides[1]}"))
    for change in found["datasets"]:
        console().print(
            Text("  ").join([plain(change["name"], style="bold"), plain(change["state"])])
        )
        for key, values in change["params"].items():
            console().print(plain(f"  {key}: {values['before']} -> {values['after']}"))
        for what in ("added", "removed"):
            if change[what]:
                console().print(f"  {len(change[what]):,} {what}:", highlight=False)
                console().print(_counts_table(change["counts"][what]))
        for what in ("relabelled", "moved"):
            for step, count in _steps(change[what]).items():
                console().print(plain(f"  {count:,} {what}: {step}"))


def print_picture(found: Mapping[str, Any]) -> None:
    """What is known of one picture."""
    table = Table(show_header=False)
    for key, value in found.items():
        text = "\n".join(value) if isinstance(value, (list, tuple)) else str(value)
        table.add_row(key.replace("_", " "), plain(text))
    console().print(table)


def _counts_table(images: Counts) -> Table:
    table = Table("class", *SPLITS, "all")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {class_name or "no class": counts for class_name, counts in images.items()}
    if len(rows) > 1:
        rows["all"] = {
            split: sum(counts.get(split, 0) for counts in images.values()) for split in SPLITS
        }
    for class_name, counts in rows.items():
        numbers = [*(counts.get(split, 0) for split in SPLITS), sum(counts.values())]
        table.add_row(plain(class_name), *(f"{number:,}" for number in numbers))
    return table


def _by_split(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)


def _steps(changes: Sequence[Mapping[str, str]]) -> dict[str, int]:
    steps: dict[str, int] = {}
    for change in changes:
        step = f"{change['before'] or 'no class'} -> {change['after'] or 'no class'}"
        steps[step] = steps.get(step, 0) + 1
    return steps
