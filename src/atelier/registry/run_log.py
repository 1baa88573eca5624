"""The buffered log of a running training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from atelier.registry.connection import Connection

# Metrics wait this long, then go in one batch: a single call costs 10 ms, a batch of 1,000 90 ms.
FLUSH_SECONDS = 5.0
FULL_BUFFER = 900
BATCH = 1000  # metrics that MLflow takes at once


class RunLog:
    """Buffered metrics and pictures of a running training."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        self._connection = connection
        self._run_id = run_id
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add metrics at a step (images seen); they are sent every few seconds."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._buffer += [Metric(key, float(value), now, step) for key, value in values.items()]
        is_due = time.monotonic() - self._flushed > FLUSH_SECONDS
        if is_due or len(self._buffer) > FULL_BUFFER:
            self.flush()

    def image(self, step: int, key: str, picture: np.ndarray) -> None:
        """Add a uint8 HWC picture at a step."""
        with self._connection.explain_errors("log a picture"):
            self._connection.client.log_image(self._run_id, picture, key=key, step=step)

    def flush(self) -> None:
        """Send what is buffered."""
        with self._connection.explain_errors("log metrics"):
            for start in range(0, len(self._buffer), BATCH):
                batch = self._buffer[start : start + BATCH]
                self._connection.client.log_batch(self._run_id, metrics=batch)
        self._buffer = []
        self._flushed = time.monotonic()
