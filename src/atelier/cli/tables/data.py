"""Tables of the `atelier data` commands for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from atelier.data.splits import SPLITS
from atelier.ui.tables import STATE_STYLES, console, plain

Counts = Mapping[str, Mapping[str, int]]  # {class: {split: number}}


def print_status(answer: Mapping[str, Any]) -> None:
    """Datasets with their counts, and the version of data/."""
    for dataset in answer["datasets"]:
        state = plain(dataset["state"], style=STATE_STYLES.get(dataset["state"], "dim"))
        parts = [plain(dataset["name"]), state, plain("; ".join(dataset["reasons"]))]
        console().print(Text("  ").join(parts))
        if dataset["images"]:
            console().print(_counts_table(dataset["images"]))
        for reason, count in dataset["quarantined"].items():
            console().print(plain(f"  {count:,} in quarantine: {reason}"))
    if not answer["md5"]:
        console().print(plain("no version yet: run `atelier ingest`"))
        return
    line = plain(f"version {answer['md5']}: ")
    if answer["clean"]:
        line.append("as in data/")
    else:
        line.append("data/ differs from it: run `atelier ingest`", style="yellow")
    line.append(", ").append_text(_remote_state(answer["in_remote"], answer["remote_problem"]))
    console().print(line)


def _remote_state(in_remote: bool | None, problem: str) -> Text:
    """Whether the remote has all of a version, or why that is not known."""
    if in_remote is None:
        return plain(problem, style="yellow")
    if in_remote:
        return Text("all of it in the remote")
    return Text("not all of it in the remote: run `atelier ingest`", style="red")


def print_versions(versions: Sequence[Mapping[str, Any]]) -> None:
    """Versions with their counts."""
    table = Table("revision", "date", "md5", "MB", "images", "subject")
    for version in versions:
        table.add_row(
            version["revision"][:10],
            (version["date"] or "")[:10],
            (version["md5"] or "")[:10],
            f"{version['size'] / 1e6:,.1f}",
            plain(_describe_datasets(version["datasets"])),
            plain(version["subject"]),
        )
    console().print(table)


def _describe_datasets(datasets: Mapping[str, Mapping[str, int]] | None) -> str:
    """A line for each dataset with its counts by split."""
    if datasets is None:
        return "can't be read: not in cache or remote"
    lines = []
    for name, counts in datasets.items():
        lines.append(f"{name}: {sum(counts.values()):,} ({_by_split(counts)})")
    return "\n".join(lines)


def print_changes(answer: Mapping[str, Any]) -> None:
    """What differs, one dataset after the other."""
    before = _name_of_side(answer["before"])
    after = _name_of_side(answer["after"])
    console().print(plain(f"from {before} to {after}"))
    for change in answer["datasets"]:
        heading = [plain(change["name"], style="bold"), plain(change["state"])]
        console().print(Text("  ").join(heading))
        for key, values in change["params"].items():
            console().print(plain(f"  {key}: {values['before']} -> {values['after']}"))
        for kind in ("added", "removed"):
            if change[kind]:
                console().print(f"  {len(change[kind]):,} {kind}:", highlight=False)
                console().print(_counts_table(change["counts"][kind]))
        for kind in ("relabelled", "moved"):
            for step, count in _steps(change[kind]).items():
                console().print(plain(f"  {count:,} {kind}: {step}"))


def _name_of_side(side: Mapping[str, Any]) -> str:
    return f"{side['revision']} ({side['md5'] or 'the working copy'})"


def print_picture(record: Mapping[str, Any]) -> None:
    """What is known of one picture."""
    table = Table(show_header=False)
    for key, value in record.items():
        text = "\n".join(value) if isinstance(value, (list, tuple)) else str(value)
        table.add_row(key.replace("_", " "), plain(text))
    console().print(table)


def _counts_table(images: Counts) -> Table:
    table = Table("class", *SPLITS, "all")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {class_name or "no class": counts for class_name, counts in images.items()}
    if len(rows) > 1:
        rows["all"] = _sum_counts(images)
    for class_name, counts in rows.items():
        numbers = [*(counts.get(split, 0) for split in SPLITS), sum(counts.values())]
        table.add_row(plain(class_name), *(f"{number:,}" for number in numbers))
    return table


def _sum_counts(images: Counts) -> dict[str, int]:
    """The images of all classes together, by split."""
    sums: dict[str, int] = dict.fromkeys(SPLITS, 0)
    for counts in images.values():
        for split in SPLITS:
            sums[split] += counts.get(split, 0)
    return sums


def _by_split(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)


def _steps(changes: Sequence[Mapping[str, str]]) -> dict[str, int]:
    steps: dict[str, int] = {}
    for change in changes:
        step = f"{change['before'] or 'no class'} -> {change['after'] or 'no class'}"
        steps[step] = steps.get(step, 0) + 1
    return steps
