"""What `atelier lineage`, `reproduce` and `compare` show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from atelier.review.comparison_page import VERDICTS, describe_change
from atelier.ui.tables import console, plain

SHOWN = 20  # lines of a list that a terminal has room for; --json has all


def print_lineage(answer: Mapping[str, Any]) -> None:
    """One version, with what it was made of and what was made of it."""
    table = Table(show_header=False, title=plain(answer["version"]), title_justify="left")
    run = answer["run"]
    settings = ", ".join(f"{key} {value}" for key, value in run["settings"].items())
    evaluation = answer["evaluation"]
    rows = {
        "aliases": answer["aliases"],
        "registered": [answer["created"]],
        "data": _data_lines(answer["data"]),
        "code": _code_lines(answer["code"]),
        "parameters": [f"sha256 {answer['params']['sha256']}, seed {answer['params']['seed']}"],
        "packages": [f"{len(answer['packages'])} in packages.txt"],
        "run": [f"{run['id']} {run['status']}", f"{run['started']} to {run['ended']}", settings],
        "Prefect flow run": [run["prefect_flow_run"]],
        "built from": [answer["built_from"]],
        "evaluation": [evaluation["fingerprint"] or "not evaluated yet"],
        "scored by": [evaluation["extractor"]],
        "compared with": [evaluation["compared"]],
        "reproduced": [answer["reproduced"]],
        "built from it": answer["built_from_it"],
        "scored with it": answer["scored_with_it"],
    }
    for key, lines in rows.items():
        text = "\n".join(str(line) for line in lines if line)
        if text:
            table.add_row(key, plain(text))
    console().print(table)


def _data_lines(data: Mapping[str, Any]) -> list[str]:
    lines = [data["md5"]]
    for name, dataset in data["datasets"].items():
        lines.append(f"{name}: {_counts(dataset['images'])} ({dataset['digest'][:12]})")
    return lines


def _code_lines(code: Mapping[str, Any]) -> list[str]:
    states = {
        "true": f"not clean, {code['uncommitted_lines']} lines of changes stored",
        "false": "clean",
    }
    lines = [
        f"{code['commit']} ({states.get(code['dirty'], 'not known whether clean')})",
        f"{code.get('date', '')}  {code.get('subject', '')}",
        f"{len(code['modules'])} modules",
    ]
    if code["left_out"]:
        lines.append(f"not stored: {code['left_out']}")
    return lines


def print_users(answer: Mapping[str, Any]) -> None:
    """The versions that used a version of the data."""
    console().print(plain(f"data {answer['md5']}"))
    table = Table(show_header=False)
    for role in ("trained", "evaluated"):
        table.add_row(f"{role} on it", plain("\n".join(answer[role]) or "none"))
    console().print(table)


def print_reproduction(answer: Mapping[str, Any]) -> None:
    """The verdict and what may explain it."""
    weights = answer["weights"]
    style = "green" if weights["identical"] else "red"
    heading = plain(answer["version"], style="bold")
    heading.append("  ").append_text(plain(answer["verdict"], style=style))
    lines = [heading]
    if weights["identical"]:
        lines.append(plain(f"all {weights['tensors']} tensors have the same bits"))
    else:
        many = f"{len(weights['differing'])} of {weights['tensors']} tensors differ"
        lines.append(plain(f"{many}, by at most {weights['max_abs_difference']:.3g}"))
    lines += [_under("inputs differ", line) for line in answer["inputs_differ"]]
    for name, (before, now) in list(answer["packages_differ"].items())[:SHOWN]:
        lines.append(_under("another package", f"{name} {before or 'none'} -> {now or 'none'}"))
    lines += [plain(note) for note in answer["notes"]]
    for line in lines:
        console().print(line)
    if answer["scores"]:
        table = Table("metric", "stored", "again", "difference")
        for metric, score in answer["scores"].items():
            numbers = [f"{score[key]:.6g}" for key in ("stored", "again", "difference")]
            table.add_row(plain(metric), *numbers)
        console().print(table)


def _under(heading: str, line: str) -> Text:
    """A line under its heading."""
    return Text(": ").join([plain(heading, style="yellow"), plain(line)])


def print_comparison(answer: Mapping[str, Any]) -> None:
    """A and B, one part after the other; slices are in --json and --html."""
    terminal = console()
    for key in ("a", "b"):
        side = answer[key]
        aliases = f" ({', '.join(side['aliases'])})" if side["aliases"] else ""
        terminal.print(plain(f"{key.upper()}: {side['name']}{aliases}, {side['started']}"))
    for line in answer["evaluation"]["differ"]:
        terminal.print(_under("the evaluations differ", line))
    reason = answer["evaluation"]["not_paired"]
    if reason:
        terminal.print(_under("not compared in pairs", reason))
    terminal.print(_metrics_table(answer["metrics"]))
    terminal.print(_differences_table(answer))
    code = answer["code"]
    for problem in (answer["data"]["problem"], code["problem"], code["diff_stat"]):
        if problem:
            terminal.print(plain(problem.rstrip()))


def _metrics_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("metric", "A", "B", "B minus A", "")
    for row in rows:
        if row["slice"] != "all":
            continue
        interval = "" if row["low"] is None else f" [{row['low']:+.4g}, {row['high']:+.4g}]"
        table.add_row(
            plain(row["metric"]),
            f"{row['a']:.4g}",
            f"{row['b']:.4g}",
            plain(f"{row['difference']:+.4g}{interval}"),
            VERDICTS[row["better"]],
        )
    return table


def _differences_table(answer: Mapping[str, Any]) -> Table:
    """Parameters, data and code."""
    table = Table("differs", "A", "B")
    for param in answer["params"]:
        table.add_row(plain(param["key"]), _param_value(param["a"]), _param_value(param["b"]))
    for dataset in answer["data"]["datasets"]:
        if dataset["a"] != dataset["b"]:
            change = describe_change(dataset)
            digests = [(dataset[side] or "none")[:12] for side in ("a", "b")]
            table.add_row(plain(f"data: {dataset['name']}\n{change}"), *digests)
    for module in answer["code"]["modules"]:
        table.add_row(plain(f"code: {module['file']}"), "", module["change"])
    return table


def _param_value(value: Any) -> Text:
    return plain("(not set)" if value is None else str(value))


def _counts(images: Mapping[str, int]) -> str:
    counts = [f"{count:,} {split}" for split, count in images.items() if count]
    return ", ".join(counts) or "counts not known"
