"""How far a long piece of work is, for people: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

log = logging.getLogger("atelier")
SECONDS_BETWEEN_LINES = 10.0

Item = TypeVar("Item")


def report_progress(items: Iterable[Item], name: str, total: int | None) -> Iterator[Item]:
    """Pass items on while a progress bar counts them.

    Without a terminal, a log line every few seconds counts.

    Args:
        items: to be passed on.
        name: of the dataset that they belong to.
        total: how many there are; None: not known.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    of_all = "" if total is None else f" of {total:,}"
    started = time.monotonic()
    last_line = started
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{name}  reading pictures", total=total)
        for number, picture in enumerate(items, start=1):
            yield picture
            bar.advance(task)
            if console.is_terminal:
                continue
            now = time.monotonic()
            if now - last_line > SECONDS_BETWEEN_LINES:
                last_line = now
                rate = number / (now - started)
                log.info("%s  read %s%s pictures, %.0f/s", name, f"{number:,}", of_all, rate)


# Of the logged values; MLflow has them all.
NOT_SHOWN = {"images_per_second", "total_kimg", "minutes", "lr", "d_signal", "g_signal", "logits"}


class Progress:
    """Turns the values a loop logs into at most one line every few seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last_line = 0.0
        self._values: dict[str, float] = {}

    def update(self, images_seen: int, values: Mapping[str, float]) -> None:
        """Take new values; print a line if the last one is old enough."""
        self._values |= values
        now = time.monotonic()
        # A budget in minutes becomes images after a while.
        total = self._values.get("total_kimg", math.inf)
        if now - self._last_line < SECONDS_BETWEEN_LINES and images_seen / 1000 < total:
            return
        self._last_line = now
        rate = self._values.get("images_per_second", 0.0)
        # The last batch may overshoot.
        left = max(0.0, 1000 * total - images_seen) / rate if rate else 0.0
        of_all = " kimg"
        if math.isfinite(total):
            of_all = f"/{total:.0f} kimg  ETA {left // 60:.0f}:{left % 60:02.0f}"
        shown = {key: value for key, value in self._values.items() if key not in NOT_SHOWN}
        words = "  ".join(f"{key} {value:.4g}" for key, value in shown.items())
        kimg = images_seen / 1000
        log.info("%s  %.0f%s  %.0f images/s  %s", self._name, kimg, of_all, rate, words)
