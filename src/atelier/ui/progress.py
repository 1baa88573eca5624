"""How far a long piece of work is, for people: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from atelier.ui.bars import find_terminal, show_bars, shown_bars
from atelier.ui.quantities import show_clock

log = logging.getLogger("atelier")
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_DRAWINGS = 0.2

Item = TypeVar("Item")


def report_progress(
    items: Iterable[Item], name: str, total: int | None, doing: str = "reading"
) -> Iterator[Item]:
    """Pass items on while a progress bar counts them.

    Without a terminal, a log line every few seconds counts.

    Args:
        items: to be passed on.
        name: of the dataset or model that they belong to.
        total: how many there are; None: not known.
        doing: what is done with them.
    """
    of_all = "" if total is None else f" of {total:,}"
    started = time.monotonic()
    last_line = started
    with show_bars(find_terminal()) as bars:
        for number, picture in enumerate(items, start=1):
            yield picture
            now = time.monotonic()
            if bars is not None:
                if now - last_line > SECONDS_BETWEEN_DRAWINGS:
                    last_line = now
                    words = _say_pictures(number, total, now - started)
                    bars.show(name, f"{name}  {doing} pictures", number, total, words)
            elif now - last_line > SECONDS_BETWEEN_LINES:
                last_line = now
                rate = number / (now - started)
                count = f"{number:,}{of_all}"
                log.info("%s  %s pictures: %s, %.0f/s", name, doing, count, rate)
        if bars is not None:
            bars.remove(name)


def _say_pictures(number: int, total: int | None, seconds: float) -> Callable[[], str]:
    if total is None:
        return lambda: f"{number:,}"
    left = show_clock(seconds * (total - number) / number)
    return lambda: f"{number:,}/{total:,}  {left} to go"


# Of the logged values; MLflow has them all.
NOT_SHOWN = {"images_per_second", "total_kimg", "minutes", "lr", "d_signal", "g_signal", "logits"}


class Progress:
    """Turns the values a loop logs into at most one line every few seconds, and into a bar."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last_line = 0.0
        self._values: dict[str, float] = {}

    def update(self, images_seen: int, values: Mapping[str, float]) -> None:
        """Take new values; print a line if the last one is old enough."""
        self._values |= values
        self._draw(images_seen)
        now = time.monotonic()
        # A budget in minutes becomes images after a while.
        total = self._values.get("total_kimg", math.inf)
        if now - self._last_line < SECONDS_BETWEEN_LINES and images_seen / 1000 < total:
            return
        self._last_line = now
        rate = self._values.get("images_per_second", 0.0)
        left = self._seconds_left(images_seen)
        of_all = " kimg"
        if math.isfinite(total):
            of_all = f"/{total:.0f} kimg  ETA {left // 60:.0f}:{left % 60:02.0f}"
        shown = {key: value for key, value in self._values.items() if key not in NOT_SHOWN}
        words = "  ".join(f"{key} {value:.4g}" for key, value in shown.items())
        kimg = images_seen / 1000
        log.info("%s  %.0f%s  %.0f images/s  %s", self._name, kimg, of_all, rate, words)

    def _seconds_left(self, images_seen: int) -> float:
        """Until the last image; 0 while it isn't known."""
        total = self._values.get("total_kimg", math.inf)
        rate = self._values.get("images_per_second", 0.0)
        if not rate or math.isinf(total):
            return 0.0
        return max(0.0, 1000 * total - images_seen) / rate  # the last batch may overshoot

    def _draw(self, images_seen: int) -> None:
        """Bring the bar up to date, where bars are shown; whoever shows them takes it away."""
        bars = shown_bars()
        if bars is None:
            return
        total = self._values.get("total_kimg")
        left = self._seconds_left(images_seen)
        rate = self._values.get("images_per_second", 0.0)
        words = f"{rate:.0f} images/s" + (f"  {show_clock(left)} to go" if left else "")
        bars.show(self._name, f"{self._name}  training", images_seen / 1000, total, lambda: words)
