"""How far a run of many stages is: bars on a terminal, a line for each stage elsewhere.

It is told names and seconds; what they stand for is others' to know.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console

from atelier.ui.bars import Bars, find_terminal, show_bars
from atelier.ui.quantities import show_clock

log = logging.getLogger("atelier")

BAR = ""  # no stage has this name


@dataclass(frozen=True)
class Stage:
    """One piece of work.

    Attributes:
        name: what it is done to.
        verb: what is done.
        seconds: that it is expected to take. 0: little, and what others with the same verb took
            tells more. None: that isn't known, nor then when all will be done.
    """

    name: str
    verb: str
    seconds: float | None = 0.0

    def __str__(self) -> str:
        return f"{self.name}: {self.verb}"


class Fleet:
    """The stages of a run, in their order.

    Args:
        stages: those that will do something.
        bars: where they are shown; None: each stage has a line in the log when it begins.
        clock: the time in seconds.
    """

    def __init__(
        self,
        stages: Sequence[Stage] = (),
        bars: Bars | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages = list(stages)
        self._bars = bars
        self._clock = clock
        self._began = clock()
        self._took: dict[str, list[float]] = {}  # seconds by verb

    @contextmanager
    def at(self, name: str, verb: str) -> Iterator[None]:
        """While a stage is under way; nothing is said of one that was not expected."""
        place = self._find(name, verb)
        if place is None:
            yield
            return
        began = self._clock()
        self._show(place, began)
        try:
            yield
        finally:
            if self._bars is not None:
                self._bars.remove(name)
        self._took.setdefault(verb, []).append(self._clock() - began)
        if self._bars is not None:
            self._draw(place, place + 1, began)

    def _find(self, name: str, verb: str) -> int | None:
        for place, stage in enumerate(self._stages):
            if (stage.name, stage.verb) == (name, verb):
                return place
        return None

    def _show(self, place: int, began: float) -> None:
        if self._bars is not None:
            self._draw(place, place, began)
            return
        # Two spaces, as between the parts of other lines.
        log.info("%s  %s", self._title(place), self._say_times(place, began))

    def _draw(self, place: int, done: int, began: float) -> None:
        assert self._bars is not None
        title = self._title(place)
        words = lambda: self._say_times(place, began)  # noqa: E731
        self._bars.show(BAR, title, done, len(self._stages), words)

    def _title(self, place: int) -> str:
        return f"[{place + 1}/{len(self._stages)}] {self._stages[place]}"

    def _say_times(self, place: int, began: float) -> str:
        words = f"elapsed {show_clock(self._clock() - self._began)}"
        left = self._seconds_left(place, began)
        return f"{words}  about {show_clock(left)} to go" if left else words

    def _seconds_left(self, place: int, began: float) -> float | None:
        """From the stage that is under way to the last one; None if it isn't known."""
        expected = [self._expect(stage) for stage in self._stages[place:]]
        known = [seconds for seconds in expected if seconds is not None]
        if len(known) < len(expected):
            return None
        now = self._clock()
        return max(0.0, known[0] - (now - began)) + sum(known[1:])

    def _expect(self, stage: Stage) -> float | None:
        took = self._took.get(stage.verb)
        if stage.seconds == 0 and took:
            return fmean(took)
        return stage.seconds


@contextmanager
def show_fleet(stages: Sequence[Stage], console: Console | None = None) -> Iterator[Fleet]:
    """Show how far a run is until the end of the block.

    Args:
        stages: those that will do something.
        console: where bars are drawn; none: on the terminal, if there is one.
    """
    where = (console or find_terminal()) if stages else None
    with show_bars(where) as bars:
        yield Fleet(stages, bars)
