"""What all tables and lines on the terminal have in common."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

# The metrics that a table has room for; `atelier history --json` has all.
SHOWN_METRICS = (
    "accuracy",
    "macro_f1",
    "kid_classifier",
    "fd_classifier",
    "kid_efficientnet",
    "fid",
    "kid_inception",
    "cas",
    "memorisation",
    "psnr",
    "ssim",
    "psnr_gain",
    "accuracy_gain",
    "psnr_difference",
    "kid_classifier_difference",
)
STATE_STYLES = {"fresh": "green", "stale": "yellow", "missing": "cyan"}
VERDICT_STYLES = {
    "promoted": "green",
    "approved": "green",
    "rejected": "red",
    "rolled back": "red",
}


def console() -> Console:
    """The terminal; a pipe or a file gets lines that are long enough for the tables."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=120)


def plain(*lines: object, style: str = "") -> Text:
    """Lines of text as a terminal shows them letter by letter.

    None of it is rich's markup or moves the cursor.
    What people wrote (reasons, names, files, messages) goes to the terminal through this, never as
    markup.
    """
    text = "\n".join(str(line) for line in lines)
    return Text("".join(map(_printable, text)), style)


def _printable(letter: str) -> str:
    if letter.isprintable() or letter == "\n":
        return letter
    return ascii(letter)[1:-1]


def stack_lines(*lines: Text) -> Text:
    """Lines of different styles, one below the other."""
    return Text("\n").join(lines)


def print_warnings(lines: Iterable[str]) -> None:
    """What somebody should look at."""
    for line in lines:
        console().print(plain(line, style="yellow"))
