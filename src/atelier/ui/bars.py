"""Bars at the bottom of a terminal, with the log's lines above them; nothing elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

# A thread draws them, and a training's budget counts the time of all threads.
DRAWN_A_SECOND = 2

_shown: Bars | None = None


class Bars:
    """The bars that are shown, each by its name."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), _Words())
        self._progress = Progress(
            *columns, console=console, transient=True, refresh_per_second=DRAWN_A_SECOND
        )
        self._tasks: dict[str, TaskID] = {}

    def show(
        self,
        name: str,
        title: str,
        done: float,
        total: float | None,
        words: Callable[[], str] = str,
    ) -> None:
        """Show a bar, or bring it up to date.

        Args:
            name: by which the bar is known.
            title: what it counts.
            done: how much of it was done.
            total: how much there is; None: not known.
            words: asked for what stands behind the bar, whenever it is drawn.
        """
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(title, total=total, words=words)
        self._progress.update(
            self._tasks[name], description=title, completed=done, total=total, words=words
        )

    def remove(self, name: str) -> None:
        """Take a bar away, if it is there."""
        task = self._tasks.pop(name, None)
        if task is not None:
            self._progress.remove_task(task)

    @contextmanager
    def hide(self) -> Iterator[None]:
        """Draw nothing until the end of the block."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    @contextmanager
    def draw(self) -> Iterator[None]:
        """Draw them until the end of the block, however it comes."""
        with self._progress:
            yield


class _Words(ProgressColumn):
    """What stands behind a bar."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["words"]())


class _Above:
    """A stream whose lines are printed above the bars, each as it is."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        # Whoever wraps a long line is the terminal: a line that is copied from it is whole.
        self._console.print(Text(text.removesuffix("\n")), soft_wrap=True, highlight=False)
        return len(text)

    def flush(self) -> None:
        pass


def find_terminal() -> Console | None:
    """The terminal that bars can be drawn on; None in a pipe, a file, or where none is at hand."""
    if not sys.stderr.isatty():
        return None
    console = Console(stderr=True)
    return console if console.is_terminal and not console.is_dumb_terminal else None


def shown_bars() -> Bars | None:
    """The bars that are on the terminal now."""
    return _shown


@contextmanager
def hide_bars() -> Iterator[None]:
    """Leave the terminal to other processes, whose lines would be written into the bars."""
    if _shown is None:
        yield
        return
    with _shown.hide():
        yield


@contextmanager
def show_bars(console: Console | None) -> Iterator[Bars | None]:
    """Draw bars until the end of the block, and leave the terminal as it was.

    Within others it gives those.

    Args:
        console: where; None: nowhere.
    """
    global _shown
    if _shown is not None or console is None:
        yield _shown
        return
    bars = Bars(console)
    with _log_above(console), bars.draw():
        _shown = bars
        try:
            yield bars
        finally:
            _shown = None


@contextmanager
def _log_above(console: Console) -> Iterator[None]:
    """Print what goes to the log's terminal above the bars."""
    streams = {}
    for handler in logging.getLogger("atelier").handlers:
        if isinstance(handler, logging.StreamHandler):
            if handler.stream in (sys.stderr, console.file):
                streams[handler] = handler.setStream(_Above(console))
    try:
        yield
    finally:
        for handler, stream in streams.items():
            handler.setStream(stream)
