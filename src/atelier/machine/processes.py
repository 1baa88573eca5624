"""Processes by what identifies them for good.

A pid alone is given to another process sooner or later.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

POLL_SECONDS = 0.1
# Seconds by which two readings of one process's start may differ: it is computed from the boot
# time.
SAME_START = 2.0


@dataclass(frozen=True)
class Identity:
    """A process on some machine."""

    host: str
    pid: int
    started: float  # seconds since 1970

    def as_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    def process(self) -> psutil.Process | None:
        """The process, if it is on this machine and still goes on."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < SAME_START
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def is_gone(self) -> bool:
        """Whether the process ended, for certain; of another machine that can't be known."""
        return self.host == socket.gethostname() and self.process() is None


def identify(pid: int | None = None) -> Identity:
    """A process that goes on, by default this one.

    Raises:
        psutil.NoSuchProcess: if it ended.
    """
    process = psutil.Process(pid or os.getpid())
    return Identity(socket.gethostname(), process.pid, process.create_time())


def with_variable(name: str, value: str) -> list[psutil.Process]:
    """All processes of this user that were started with a variable of their environment."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            has_ended = process.status() == psutil.STATUS_ZOMBIE
            if not has_ended and process.environ().get(name) == value:
                processes.append(process)
    return processes


def memory_mb(processes: Iterable[psutil.Process]) -> float:
    """Memory of processes in MB, what they share counted once (PSS) where the system tells it."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    return total / 2**20


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that came from it and still have a parent in it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Ask processes to end, wait, and kill those that don't."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    wait_for(processes, seconds)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def wait_for(processes: Sequence[psutil.Process], seconds: float) -> bool:
    """Wait until processes, of whatever parent, have ended; whether all did in time."""
    deadline = time.monotonic() + seconds
    while any(_goes_on(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _goes_on(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
