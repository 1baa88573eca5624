"""What `atelier lineage`, `reproduce` and `compare` show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from atelier.review.comparison_page import VERDICTS, describe_change
from atelier.ui.tables import console, plain

SHOWN = 20  # lines of a list that a terminal has room for; --json has all


def print_lineage(found: Mapping[str, Any]) -> None:
    """One version, with what it was made of and what was made of it."""
    table = Table(show_header=False, title=plain(found["version"]), title_justify="left")
    data, code, run = found["data"], found["code"], found["run"]
    images = [
        f"{name}: {_counts(of['images'])} ({of['digest'][:12]})"
        for name, of in data["datasets"].items()
    ]
    dirty = {
        "true": f"not clean, {code['uncommitted_lines']} lines of changes stored",
        "false": "clean",
    }
    commit = f"{code['commit']} ({dirty.get(code['dirty'], 'not known whether clean')})"
    settings = ", ".join(f"{key} {value}" for key, value in run["settings"].items())
    evaluation = found["evaluation"]
    rows = {
        "aliases": found["aliases"],
        "registered": [found["created"]],
        "data": [data["md5"] or "", *images],
        "code": [
            commit,
            f"{code.get('date', '')}  {code.get('subject', '')}",
            f"{len(code['modules'])} modules",
            f"not stored: {code['left_out']}" if code["left_out"] else "",
        ],
        "parameters": [f"sha256 {found['params']['sha256']}, seed {found['params']['seed']}"],
        "packages": [f"{len(found['packages'])} in packages.txt"],
        "run": [f"{run['id']} {run['status']}", f"{run['started']} to {run['ended']}", settings],
        "Prefect flow run": [run["prefect_flow_run"] or ""],
        "built from": [found["built_from"] or ""],
        "evaluation": [evaluation["fingerprint"] or "not evaluated yet"],
        "scored by": [evaluation["extractor"] or ""],
        "compared with": [evaluation["compared"] or ""],
        "reproduced": [found["reproduced"] or ""],
        "built from it": found["built_from_it"],
        "scored with it": found["scored_with_it"],
    }
    for key, lines in rows.items():
        if text := "\n".join(filter(None, map(str, lines))):
            table.add_row(key, plain(text))
    console().print(table)


def print_users(found: Mapping[str, Any]) -> None:
    """The versions that used a version of the data."""
    console().print(plain(f"data {found['md5']}"))
    table = Table(show_header=False)
    for role in ("trained", "evaluated"):
        table.add_row(f"{role} on it", plain("\n".join(found[role]) or "none"))
    console().print(table)


def print_reproduction(found: Mapping[str, Any]) -> None:
    """The verdict and what may explain it."""
    weights, style = found["weights"], "green" if found["weights"]["identical"] else "red"
    lines = [
        plain(found["version"], style="bold")
        .append("  ")
        .append_text(plain(found["verdict"], style=style))
    ]
    if weights["identical"]:
        lines.append(plain(f"all {weights['tensors']} tensors have the same bits"))
    else:
        many = f"{len(weights['differing'])} of {weights['tensors']} tensors differ"
        lines.append(plain(f"{many}, by at most {weights['max_abs_difference']:.3g}"))
    lines += [_headed("inputs differ", line) for line in found["inputs_differ"]]
    for name, (before, now) in list(found["packages_differ"].items())[:SHOWN]:
        lines.append(_headed("another package", f"{name} {before or 'none'} -> {now or 'none'}"))
    lines += [plain(note) for note in found["notes"]]
    for line in lines:
        console().print(line)
    if found["scores"]:
        table = Table("metric", "stored", "again", "difference")
        for metric, of in found["scores"].items():
            table.add_row(
                plain(metric), *(f"{of[key]:.6g}" for key in ("stored", "again", "difference"))
            )
        console().print(table)


def _headed(heading: str, line: str) -> Text:
    return Text(": ").join([plain(heading, style="yellow"), plain(line)])


def print_comparison(found: Mapping[str, Any]) -> None:
    """A and B, one part after the other; slices are in --json and --html."""
    terminal = console()
    for key in ("a", "b"):
        side = found[key]
        aliases = f" ({', '.join(side['aliases'])})" if side["aliases"] else ""
        terminal.print(plain(f"{key.upper()}: {side['name']}{aliases}, {side['started']}"))
    for line in found["evaluation"]["differ"]:
        terminal.print(_headed("the evaluations differ", line))
    if reason := found["evaluation"]["not_paired"]:
        terminal.print(_headed("not compared in pairs", reason))
    table = Table("metric", "A", "B", "B minus A", "")
    for row in found["metrics"]:
        if row["slice"] == "all":
            interval = "" if row["low"] is None else f" [{row['low']:+.4g}, {row['high']:+.4g}]"
            difference = plain(f"{row['difference']:+.4g}{interval}")
            table.add_row(
                plain(row["metric"]),
                f"{row['a']:.4g}",
                f"{row['b']:.4g}",
                difference,
                VERDICTS[row["better"]],
            )
    terminal.print(table)
    table = Table("differs", "A", "B")
    for item in found["params"]:
        shown = ["(not set)" if item[side] is None else str(item[side]) for side in ("a", "b")]
        table.add_row(plain(item["key"]), *map(plain, shown))
    for item in found["data"]["datasets"]:
        shown = [f"{(item[side] or 'none')[:12]}" for side in ("a", "b")]
        if item["a"] != item["b"]:
            table.add_row(plain(f"data: {item['name']}\n{describe_change(item)}"), *shown)
    for item in found["code"]["modules"]:
        table.add_row(plain(f"code: {item['file']}"), "", item["change"])
    terminal.print(table)
    for problem in filter(
        None, (found["data"]["problem"], found["code"]["problem"], found["code"]["diff_stat"])
    ):
        terminal.print(plain(problem.rstrip()))


def _counts(images: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count:,} {split}" for split, count in images.items() if count)
        or "counts not known"
    )
