"""Log lines that tell a person how a training goes: images/s, time left, losses."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

log = logging.getLogger("atelier")
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Turns the values a loop logs into at most one line every few seconds."""

    def __init__(self, name: str, total_images: int) -> None:
        self._name, self._total = name, total_images
        self._last_line = 0.0
        self._values: dict[str, float] = {}

    def update(self, images_seen: int, values: Mapping[str, float]) -> None:
        """Take new values; print a line if the last one is old enough."""
        self._values |= values
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES and images_seen < self._total:
            return
        self._last_line = now
        rate = self._values.get("images_per_second", 0.0)
        left = max(0, self._total - images_seen) / rate if rate else 0.0  # the last batch may overshoot
        shown = "  ".join(f"{key} {value:.4g}" for key, value in self._values.items() if key != "images_per_second")
        log.info(
            "%s  %.0f/%.0f kimg  %.0f images/s  ETA %d:%02d  %s",
            self._name, images_seen / 1000, self._total / 1000, rate, left // 60, left % 60, shown,
        )  # fmt: skip
