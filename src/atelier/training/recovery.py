"""What brings a training back: its checkpoints, and the return to the last one after a failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from atelier.errors import TrainingError
from atelier.training.budget import Budget
from atelier.training.checkpoint import Checkpoints
from atelier.training.clock import Clock

MAX_ROLLBACKS = 3


class NotFinite(Exception):
    """A loss or a weight became NaN or infinite."""


class Recovery:
    """Writes checkpoints of all that changes while training, and puts it back.

    Args:
        checkpoints: where they lie.
        parts: all that changes, by name; each has `state_dict` and `load_state_dict`.
        rng: source of the training's random numbers.
        budget: has the position, which is put back as well.
        clock: goes on from the time that a checkpoint was written after.

    Attributes:
        rate_scale: factor of the learning rate: 1, halved by each return.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        parts: Mapping[str, Any],
        rng: torch.Generator,
        budget: Budget,
        clock: Clock,
    ) -> None:
        self._checkpoints = checkpoints
        self._parts = parts
        self._rng = rng
        self._budget = budget
        self._clock = clock
        self.rate_scale = 1.0
        self._num_rollbacks = 0

    def open(self) -> None:
        """Go on from the last checkpoint; without one, write what a first step goes back to.

        Raises:
            TrainingError: if there are checkpoints and none can be used, or none can be written.
        """
        state = self._checkpoints.load()
        if state is None:
            self.save()
        else:
            self._restore(state)

    def save(self) -> None:
        """Write a checkpoint of this position.

        Raises:
            TrainingError: if it can't be written.
        """
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"rng": self._rng.get_state(), **self._budget.state_dict()}
        state |= {"rate_scale": self.rate_scale, "num_rollbacks": self._num_rollbacks}
        state |= {"seconds": self._clock.seconds()}
        self._checkpoints.save(state)

    def refuse_broken_weights(self) -> None:
        """A finite loss can have a gradient that isn't.

        Such weights must not replace the last good ones.

        Raises:
            NotFinite: if there is one, with the name of the network.
        """
        for name, part in self._parts.items():
            if isinstance(part, torch.nn.Module) and not _is_finite(part):
                raise NotFinite(f"a weight of {name} became NaN or infinite")

    def roll_back(self, reason: str) -> str:
        """From a step that failed to the last checkpoint, at half the learning rate.

        Args:
            reason: why it failed.

        Returns:
            What happened, for people.

        Raises:
            TrainingError: if that was done `MAX_ROLLBACKS` times already.
        """
        failed_at = self._budget.position.before
        num_rollbacks = self._num_rollbacks + 1
        scale = self.rate_scale / 2
        if num_rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"{reason} after {failed_at / 1000:.1f} kimg, at {self.rate_scale} times the "
                f"learning rate, which was halved {MAX_ROLLBACKS} times; the last checkpoint is "
                "untouched. Lower training.lr."
            )
        used = self._clock.seconds()
        state = self._checkpoints.load()
        assert state is not None  # `open` wrote the first one
        self._restore(state)
        self._num_rollbacks = num_rollbacks
        self.rate_scale = scale
        self._clock.restart(used)  # what failed took its time as well
        self.save()  # a kill from now on must not forget the lower learning rate
        return (
            f"{reason} after {failed_at / 1000:.1f} kimg: back to "
            f"{self._budget.position.after / 1000:.1f} kimg, on at {scale} times the learning rate"
        )

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self._rng.set_state(state["rng"])
        self._budget.load_state_dict(state)
        self.rate_scale = float(state["rate_scale"])
        self._num_rollbacks = int(state["num_rollbacks"])
        self._clock.restart(float(state["seconds"]))


def _is_finite(network: torch.nn.Module) -> bool:
    return all(bool(weight.isfinite().all()) for weight in network.parameters())
