"""How a command ends that was told to: all that is open is closed, one line, and the exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

NAMES = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "its terminal, which closed",
}


CTRL_C = 128 + signal.SIGINT


class EndRequest(BaseException):
    """The process was told to end; like Ctrl-C no error."""


class Ending:
    """While entered, SIGTERM and SIGHUP unwind the command as Ctrl-C does.

    A second one changes nothing. That holds outside of a flow and a training, which hold signals
    back for a while, and then pass them on. A signal that is ignored, as `nohup` does, stays so.
    """

    def __init__(self) -> None:
        self._first: int | None = None

    def __enter__(self) -> Ending:
        if threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._receive)
            if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
                signal.signal(signal.SIGHUP, self._pass_on)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Typer makes an exit of Ctrl-C.
        by_typer = isinstance(error, SystemExit) and error.code == CTRL_C
        if by_typer or isinstance(error, KeyboardInterrupt):
            self._first = self._first or signal.SIGINT
        if self._first is not None and error is not None:
            self._end(self._first)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        is_second = self._first is not None and self._first != signal.SIGHUP
        self._first = self._first or number
        if not is_second:
            raise EndRequest

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """To whoever has SIGTERM now: Prefect or a training, which know no SIGHUP."""
        if self._first is None:
            self._first = number
            signal.raise_signal(signal.SIGTERM)

    def _end(self, number: int) -> NoReturn:
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C takes no line away
        line = (
            f"stopped by {NAMES[signal.Signals(number)]}; what was done is kept, and the same "
            "command goes on from there: a training from its checkpoint"
        )
        with suppress(OSError):  # the terminal may be gone
            after_echo = "\n" if number == signal.SIGINT and sys.stderr.isatty() else ""
            print(after_echo + line, file=sys.stderr, flush=True)
            sys.stdout.flush()
        # All that was open was closed on the way here. Python's own end would wait for Prefect's
        # threads, and they for an API that is gone: after a second Ctrl-C, for ever.
        os._exit(128 + number)
