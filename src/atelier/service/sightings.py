"""Statistics of the pictures that came, for monitoring: numbers only, never a picture.

Of a share of the requests, a line of JSON each, in `.atelier/requests/MODEL.jsonl`;
`atelier.open().requests(MODEL)` reads them as a table.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 16 * 2**20  # of a file; the one before it is kept
FOLDER = "requests"  # below the project's cache


class Sightings:
    """A file of statistics for each model.

    Args:
        folder: for the files.
        share: of the requests that is noted, in [0, 1].
    """

    def __init__(self, folder: Path, share: float) -> None:
        self._folder = folder
        self._share = share
        self._handlers: dict[str, RotatingFileHandler] = {}
        self._lock = threading.Lock()

    def wanted(self) -> bool:
        """Whether to note this request; decided anew each time."""
        return random.random() < self._share

    def note(
        self, name: str, facts: Mapping[str, Any], x_1CHW: NDArray[np.float32], answer: Any
    ) -> None:
        """Add a line of what was asked.

        Args:
            name: under which the model was asked.
            facts: of the request: version, format, depth, seconds.
            x_1CHW: what the model was given, in [0, 1].
            answer: x_hat_1CHW.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts}
        line |= statistics_of(x_1CHW)
        if answer.shape == x_1CHW.shape:
            line["change"] = round(float(np.sqrt(np.square(answer - x_1CHW).mean())), 5)
        record = logging.makeLogRecord({"msg": json.dumps(line)})
        with self._lock:
            self._handler(name).emit(record)

    def close(self) -> None:
        """Close the files."""
        for handler in self._handlers.values():
            handler.close()

    def _handler(self, name: str) -> RotatingFileHandler:
        if name not in self._handlers:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = file_of(self._folder, name)
            self._handlers[name] = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=1)
        return self._handlers[name]


def file_of(folder: Path, name: str) -> Path:
    """Where the lines of a model are; a reference's / and @ can't stand in a file's name."""
    return folder / f"{name.replace('/', '-').replace('@', '-')}.jsonl"


def read_lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """What is kept of a model's requests, the oldest first."""
    path = file_of(folder, name)
    lines = []
    for file in (path.with_name(f"{path.name}.1"), path):
        if file.exists():
            lines += [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return lines


def statistics_of(x_1CHW: NDArray[np.float32]) -> dict[str, Any]:
    """What tells kinds of pictures apart.

    Returns:
        height, width, channels; mean, std and the percentiles p1 and p99 of all values, in [0, 1];
        sigma, the estimated standard deviation of their noise (`tiles.estimate_sigma`); sharpness,
        the standard deviation of a discrete Laplacian.
    """
    import torch

    from atelier.serving.tiles import estimate_sigma

    channels, height, width = x_1CHW.shape[1:]
    low, high = np.percentile(x_1CHW, (1, 99))
    values = {
        "mean": x_1CHW.mean(),
        "std": x_1CHW.std(),
        "p1": low,
        "p99": high,
        "sigma": estimate_sigma(torch.from_numpy(x_1CHW[0])),
        "sharpness": _laplacian(x_1CHW).std() if min(height, width) > 2 else 0.0,
    }
    rounded = {key: round(float(value), 5) for key, value in values.items()}
    return {"height": height, "width": width, "channels": channels, **rounded}


def _laplacian(x_1CHW: NDArray[np.float32]) -> NDArray[np.float32]:
    middle = x_1CHW[..., 1:-1, 1:-1]
    beside = x_1CHW[..., 1:-1, :-2] + x_1CHW[..., 1:-1, 2:]
    above = x_1CHW[..., :-2, 1:-1] + x_1CHW[..., 2:, 1:-1]
    laplacian: NDArray[np.float32] = beside + above - 4 * middle
    return laplacian
