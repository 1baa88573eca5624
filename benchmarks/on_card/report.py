"""What was found, as one JSON and one Markdown file, written anew after every finding."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

Value = float | int | str | bool
PASSED = "passed"
FAILED = "failed"
MEASURED = "measured"  # a figure that nothing is asked of
SKIPPED = "skipped"
KNOWN = "known fault"  # failed as it is known to; what is mended must be taken off the list


class OutOfTime(Exception):
    """The time of a part is used up."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes:
        subject: what it was.
        status: passed, failed, measured or skipped.
        values: figures and words by their names.
        reason: why it failed, or was skipped.
    """

    subject: str
    status: str
    values: Mapping[str, Value] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Part:
    """One part of the work.

    Attributes:
        number: by which `--only` names it.
        title: what it asks.
        findings: one a subject.
        seconds: that it took.
        reason: why it ended before its end; "": it didn't.
    """

    number: int
    title: str
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""

    @property
    def status(self) -> str:
        """Of the whole part: failed if anything in it was, or if it was cut short."""
        if self.reason or any(finding.status == FAILED for finding in self.findings):
            return FAILED
        return PASSED


def judge(subject: str, values: Mapping[str, Value], reasons: list[str]) -> Finding:
    """A finding that failed if there are reasons for it."""
    return Finding(subject, FAILED if reasons else PASSED, values, "; ".join(reasons))


def attempt(subject: str, work: Callable[[], Finding], known: str = "") -> Finding:
    """What comes of it; an error is a finding too.

    Args:
        subject: what is tried, if the work ends in an error.
        work: tries it.
        known: the fault that is known of it; "": none. Then it must fail.

    Raises:
        OutOfTime: if it did.
    """
    try:
        finding = work()
    except OutOfTime:
        raise
    except Exception as error:
        finding = Finding(subject, FAILED, {}, describe_error(error))
    if not known:
        return finding
    if finding.status == PASSED:
        return Finding(subject, FAILED, finding.values, f"mended, so no known fault: {known}")
    return Finding(subject, KNOWN, finding.values, f"{known} ({finding.reason})")


def describe_error(error: BaseException) -> str:
    """Its type, the first line of what it says, and where it was raised."""
    said = (str(error).splitlines() or [""])[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {said} ({Path(place.filename).name}:{place.lineno})"


def write_report(folder: Path, made: Mapping[str, Value], parts: list[Part]) -> None:
    """Write `gpu.json` and `gpu.md`, each whole or not at all.

    Args:
        folder: where they lie.
        made: how they were made: command, device, versions.
        parts: those that were begun.
    """
    content = {
        "made": dict(made),
        "parts": [{**asdict(part), "status": part.status} for part in parts],
    }
    _replace(folder / "gpu.json", json.dumps(content, indent=1) + "\n")
    _replace(folder / "gpu.md", as_markdown(made, parts))


def as_markdown(made: Mapping[str, Value], parts: list[Part]) -> str:
    """The same for people."""
    blocks = ["# " + str(made["title"])]
    blocks.append("\n".join(f"- {name}: {value}" for name, value in made.items()))
    for part in parts:
        heading = f"## {part.number}. {part.title}: {part.status}, {part.seconds:.0f} s"
        blocks.append(heading)
        if part.reason:
            blocks.append(f"Ended before its end: {_in_a_cell(part.reason)}")
        if part.findings:
            blocks.append(_table(part.findings))
    return "\n\n".join(blocks) + "\n"


def _table(findings: list[Finding]) -> str:
    lines = ["| what | status | figures | reason |", "|---|---|---|---|"]
    for finding in findings:
        figures = "; ".join(
            f"{name} {format_value(value)}" for name, value in finding.values.items()
        )
        cells = (finding.subject, finding.status, figures, finding.reason)
        lines.append(f"| {' | '.join(map(_in_a_cell, cells))} |")
    return "\n".join(lines)


def format_value(value: Value) -> str:
    """Three digits of what isn't whole."""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else _plain(value)


def _plain(value: Value) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else str(value)


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
