"""Signals that ask a training to stop: it ends its step and writes a checkpoint first."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Stopped(BaseException):
    """A training stopped because it was asked to, after writing a checkpoint.

    No error of the training.
    """


class StopSignals:
    """While entered, SIGTERM and Ctrl-C only set a flag.

    On leaving, the signal goes to who was in charge before.

    A second Ctrl-C is not held back. In other threads than the main one, where Python allows no
    handlers, nothing is changed.

    Args:
        deliver: whether the signal is delivered on leaving; a process that only serves another one
            just ends.
    """

    _caught = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, deliver: bool = True) -> None:
        self._deliver = deliver
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._received is not None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in self._caught}
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self._received = number

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._deliver and self._received is not None:
            signal.raise_signal(self._received)
