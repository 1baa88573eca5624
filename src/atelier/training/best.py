"""The best weights of a training by its validations, and whether it has run away from them.

At a learning rate that is too high for it a restorer can learn for an hour and end below what it
reached after minutes; no loss ever is infinite then.

Shapes: N validation images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

PATIENCE = 2  # validations in a row that have to lie below the best
ERRORS = 3  # by so many standard errors of the mean difference, image by image ...
# ... and by this share of what the training had gained since its first validation: the weights
# wander at a high learning rate, and come back as it falls.
SHARE_OF_GAIN = 0.05


class Best:
    """The weights with which a training validated best.

    Attributes:
        images_seen: at the best validation; 0 before the first.
        weights: of then, by name; none before.
        is_last_worse: whether the last validation was below the best by more than the noise of its
            images.
    """

    def __init__(self) -> None:
        self.images_seen = 0
        self.weights: dict[str, Tensor] = {}
        self.is_last_worse = False
        self._values_N: Tensor | None = None
        self._metric = ""
        self._first_mean = math.nan
        self._last_mean = math.nan
        self._num_below = 0

    def take(self, average: nn.Module, values_N: Tensor, metric: str, images_seen: int) -> bool:
        """Take note of a validation.

        Args:
            average: what was validated.
            values_N: score of each validation image, the same images each time; higher is better.
            metric: its name.
            images_seen: of the training.

        Returns:
            Whether the training has run away: it was below its best, by more than noise, `PATIENCE`
            times in a row.
        """
        values_N = values_N.detach().double().cpu()
        self._metric = metric
        self._last_mean = float(values_N.mean())
        if self._values_N is None:
            self._first_mean = self._last_mean
        if self._values_N is None or self._last_mean >= self._mean():
            self._values_N = values_N
            self.images_seen = images_seen
            self._num_below = 0
            self.is_last_worse = False
            state = average.state_dict()
            self.weights = {name: weight.clone() for name, weight in state.items()}
            return False
        loss_N = self._values_N - values_N
        error = float(loss_N.std()) / math.sqrt(len(loss_N)) if len(loss_N) > 1 else 0.0
        self.is_last_worse = float(loss_N.mean()) > ERRORS * error
        gain = self._mean() - self._first_mean
        is_below = self.is_last_worse and float(loss_N.mean()) > SHARE_OF_GAIN * gain
        self._num_below = self._num_below + 1 if is_below else 0
        return self._num_below >= PATIENCE

    def forgive(self) -> None:
        """Begin to count anew: the training has gone back."""
        self._num_below = 0

    def fall(self) -> str:
        """What happened, for people: from where it fell to where."""
        return (
            f"{self._metric} fell from {self._mean():.4g} to {self._last_mean:.4g}: back to the "
            f"weights after {self.images_seen / 1000:.1f} kimg"
        )

    def choice(self) -> str:
        """Which weights are taken at the end, for people."""
        return (
            f"taken are the weights after {self.images_seen / 1000:.1f} kimg: {self._metric} was "
            f"{self._mean():.4g} there, {self._last_mean:.4g} at the end"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "images_seen": self.images_seen,
            "weights": self.weights,
            "values": self._values_N,
            "metric": self._metric,
            "first_mean": self._first_mean,
            "last_mean": self._last_mean,
            "num_below": self._num_below,
            "is_last_worse": self.is_last_worse,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As it was when `state` was taken."""
        self.images_seen = int(state["images_seen"])
        self.weights = dict(state["weights"])
        self._values_N = state["values"]
        self._metric = str(state["metric"])
        self._first_mean = float(state["first_mean"])
        self._last_mean = float(state["last_mean"])
        self._num_below = int(state["num_below"])
        self.is_last_worse = bool(state["is_last_worse"])

    def _mean(self) -> float:
        assert self._values_N is not None
        return float(self._values_N.mean())
