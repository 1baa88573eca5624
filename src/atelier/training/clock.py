"""The time that a training has taken, in the measure of its budget."""

from __future__ import annotations

import time

import torch


class Clock:
    """Runs from its making on.

    Args:
        device: where the training computes. On a CPU the time of all of this process's threads
            counts, which other programs on the machine don't change; elsewhere the time of day.
    """

    def __init__(self, device: torch.device) -> None:
        self._measure = time.process_time if device.type == "cpu" else time.perf_counter
        self.restart(0.0)

    def restart(self, used: float) -> None:
        """Run from now on.

        Args:
            used: seconds that the training took before.
        """
        self._used = used
        self._began = self._measure()
        self._wall_began = time.perf_counter()

    def seconds(self) -> float:
        """Time used, in all."""
        return self._used + (self._measure() - self._began)

    def wall_seconds(self) -> float:
        """Time of day that passed since it was made or started again."""
        return time.perf_counter() - self._wall_began
