"""How long a training is, how far it has come, and what depends on that alone.

All is counted in images. Nothing here computes, so nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atelier.params import Training
from atelier.training.schedules import due, fitting_warmup, learning_rate

# Of a budget in minutes: then the speed is known, and the length of the training in images.
CALIBRATION = 0.05


@dataclass(frozen=True)
class Position:
    """Where a step lies in its training.

    Attributes:
        before: images seen before the step.
        after: images seen when it is done.
    """

    before: int
    after: int


class Budget:
    """The length of a training, and the position of the step that is under way.

    Args:
        training: its budget in images or minutes, batch size and warm-up.

    Attributes:
        position: of the step under way; between steps of the last one.
        total_images: length of the training; None until a budget in minutes is calibrated.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self.position = Position(before=0, after=0)
        self.total_images = None if training.kimg is None else round(training.kimg * 1000)

    def advance(self) -> Position:
        """Go on to the next step."""
        seen = self.position.after
        self.position = Position(before=seen, after=seen + self._training.batch_size)
        return self.position

    def is_spent(self) -> bool:
        """Whether no step is left to do."""
        return self.total_images is not None and self.position.after >= self.total_images

    def progress(self) -> float:
        """The share that is done after the step, in [0, 1]; 0 until the length is known."""
        if self.total_images is None:
            return 0.0
        return min(1.0, self.position.after / self.total_images)

    def is_due(self, every_kimg: float) -> bool:
        """Whether the step crosses a multiple of `every_kimg` thousand images, or is the last."""
        is_last = self.progress() == 1
        return is_last or due(self.position.after, self._training.batch_size, every_kimg)

    def learning_rate(self, peak: float) -> float:
        """Of the step: warm-up and decay of a rate whose highest value is `peak`."""
        seen = self.position.before
        warmup = round(self._training.warmup_kimg * 1000)
        if self.total_images is None:
            # At its peak after the warm-up, until the length of the training is known.
            return learning_rate(peak, min(seen, warmup), warmup + 1, warmup)
        warmup = fitting_warmup(warmup, self.total_images)
        return learning_rate(peak, seen, self.total_images, warmup)

    def calibrate(self, seconds: float) -> None:
        """Turn a budget in minutes into images, once the speed is known.

        From then on nothing depends on a clock.

        Args:
            seconds: used up to the present position.
        """
        assert self._training.minutes is not None  # params.checks
        seen = self.position.after
        if not seen or seconds < CALIBRATION * self._training.minutes * 60:
            return
        batch_size = self._training.batch_size
        num_batches = seen / batch_size * self._training.minutes * 60 / seconds
        # One more than are done at least: the last step reports and saves, so it has to be known
        # for the last one.
        steps = max(seen // batch_size + 1, round(num_batches))
        self.total_images = steps * batch_size

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"images_seen": self.position.after, "total_images": self.total_images}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; other keys of `state` are left alone."""
        seen = int(state["images_seen"])
        self.position = Position(before=seen, after=seen)
        self.total_images = state["total_images"]
