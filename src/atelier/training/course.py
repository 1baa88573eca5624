"""The course of one training: its guarded steps, its log, its checkpoints, and its end.

A loop reads: `course.open()`, then `course.run(one_step)`. A step may fail with a loss that isn't
finite; the course then goes back to the last checkpoint and on from there at half the learning
rate. A step may also report a validation that fell for long: then the weights go back to the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from atelier.params import Training
from atelier.training.best import Best
from atelier.training.budget import Budget, Position
from atelier.training.clock import Clock
from atelier.training.distributed import average_gradients, averaged, world_size
from atelier.training.health import Health
from atelier.training.interruption import Stopped
from atelier.training.outcome import Outcome, join_kept
from atelier.training.recovery import NotFinite, Recovery
from atelier.training.session import Session


class Course:
    """One training from its first image, or from its last checkpoint, to its last.

    Nothing is read or written before `open`.

    Args:
        session: the training's connections.
        training: budget, learning rate and rhythm.
        parts: all that changes while training, by name; each has `state_dict` and
            `load_state_dict`. One that is validated has `network`, its `average`, which gets
            registered, and their `optimizer`.
        rng: source of the training's random numbers.

    Attributes:
        device: where the networks live.
    """

    def __init__(
        self, session: Session, training: Training, parts: Mapping[str, Any], rng: torch.Generator
    ) -> None:
        self.device = session.device
        self._session = session
        self._training = training
        self._health = Health()
        self._budget = Budget(training)
        self._clock = Clock(session.device)
        self._best = Best()
        self._parts = parts
        everything = {**parts, "health": self._health, "best": self._best}
        self._recovery = Recovery(session.checkpoints, everything, rng, self._budget, self._clock)
        self._speed_since: int | None = None  # images seen when its clock was started

    @property
    def images_seen(self) -> int:
        """Images seen when the step under way is done; between steps, up to now."""
        return self._budget.position.after

    def open(self) -> None:
        """Go on from the last checkpoint; without one, write the first.

        Raises:
            TrainingError: if there are checkpoints and none can be used, or none can be written.
        """
        self._recovery.open()
        self._speed_since = self.images_seen

    def run(self, one_step: Callable[[Position], None]) -> None:
        """All steps that are left, one after another.

        At the end `average` is what validated best.

        Args:
            one_step: trains on `batch_size` images and reports what is due.

        Raises:
            TrainingError: if the training is hopeless, or fails again and again, with the reason.
            Stopped: if a stop was requested.
        """
        while self.goes_on():
            self.step(one_step)
        if self._best.is_last_worse:
            self._parts["average"].load_state_dict(self._best.weights)
            self._session.on_note(self.images_seen, self._best.choice())

    def goes_on(self) -> bool:
        """Whether there is a step left to do."""
        if self._budget.total_images is None:
            used = torch.tensor(self._clock.seconds(), dtype=torch.float64)
            self._budget.calibrate(float(averaged(used.to(self.device))))
        return not self._budget.is_spent()

    def step(self, one_step: Callable[[Position], None]) -> None:
        """One step, then a checkpoint if due, or at the end.

        If it fails with a loss or weights that aren't finite, nothing of it is left: the course
        stands at its last checkpoint again. So all that belongs to a step lies in `one_step`.

        Raises:
            TrainingError: if the training is hopeless, or fails again and again, with the reason.
            Stopped: if a stop was requested.
        """
        assert self._speed_since is not None, "open the course first"
        try:
            one_step(self._budget.advance())
            stopping = self._stop_requested()
            if stopping or self.is_due(self._training.checkpoint_every_kimg):
                self._recovery.refuse_broken_weights()
                self._recovery.save()
        except NotFinite as failure:
            self._roll_back(str(failure))
            return
        if stopping:
            raise Stopped

    def is_due(self, every_kimg: float) -> bool:
        """Whether the step crosses a multiple of `every_kimg` thousand images, or is the last."""
        return self._budget.is_due(every_kimg)

    def progress(self) -> float:
        """The share that is done after the step, in [0, 1]; 0 until its length is known."""
        return self._budget.progress()

    def precision(self) -> AbstractContextManager[Any]:
        """Within it, networks compute in the precision that the parameters ask for."""
        on_cuda = self.device.type == "cuda"
        half = self._training.precision == "bfloat16" or (
            self._training.precision == "auto" and on_cuda
        )
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def minimise(
        self,
        name: str,
        optimizer: torch.optim.Optimizer,
        objective: Callable[..., Outcome],
        *batch: Tensor,
    ) -> Outcome:
        """One optimizer step on the mean of an objective over a batch, in `accumulate` parts.

        Args:
            name: of the loss, for messages.
            optimizer: of the weights that are to move; made with its peak learning rate.
            objective: takes a part of each tensor of the batch, returns the mean loss of that part.
            batch: tensors of equal length.

        Returns:
            The mean loss, detached, and what the objective kept of all parts.

        Raises:
            NotFinite: if the loss is NaN or infinite; no weight has moved then.
        """
        optimizer.zero_grad(set_to_none=True)
        chunks = [tensor.chunk(self._training.accumulate) for tensor in batch]
        outcomes = []
        for part in zip(*chunks, strict=True):
            with self.precision():
                outcome = objective(*part)
                loss = outcome.loss / self._training.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            outcomes.append(Outcome(loss.detach(), outcome.kept))
        losses = [outcome.loss for outcome in outcomes]
        loss = averaged(sum(losses[1:], losses[0]))
        number = loss.item()
        if not math.isfinite(number):
            raise NotFinite(f"{name} became {number}")
        self._move_weights(optimizer)
        return Outcome(loss, join_kept(outcomes))

    def _move_weights(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer's step along the gradients that were computed."""
        weights: list[Tensor] = []
        for group in optimizer.param_groups:
            weights.extend(group["params"])
        average_gradients(weights)
        if self._training.clip_gradients is not None:
            torch.nn.utils.clip_grad_norm_(weights, self._training.clip_gradients)
        for group in optimizer.param_groups:
            group["lr"] = self._learning_rate(optimizer.defaults["lr"])
        optimizer.step()

    def log(self, values: Mapping[str, float | Tensor]) -> None:
        """Report values of this step, with the speed, and end a training hopeless for too long.

        Raises:
            TrainingError: if it is, with the reason.
        """
        here = torch.tensor(
            [float(value) for value in values.values()], dtype=torch.float64, device=self.device
        )
        # So that all processes end alike.
        numbers = dict(zip(values, averaged(here).tolist(), strict=True))
        numbers["lr"] = self._learning_rate(self._training.lr)
        numbers["minutes"] = self._clock.seconds() / 60
        numbers["images_per_second"] = self._speed()
        total_images = self._budget.total_images
        if total_images is not None:
            numbers["total_kimg"] = total_images / 1000
        self._session.on_log(self.images_seen, numbers)
        if total_images is not None:
            self._health.check(self.images_seen, numbers, total_images)

    def validate(self, metric: str, values_N: Tensor) -> None:
        """Log the mean of a validation; if it fell for long, go back to the best weights.

        Network and average then start from the best average, at half the learning rate. Neither
        images nor time are given back.

        Args:
            metric: its name.
            values_N: of each validation image, always the same ones; higher is better.

        Raises:
            TrainingError: as `log`.
        """
        self.log({metric: values_N.double().mean()})
        average = self._parts["average"]
        has_run_away = self._best.take(average, values_N, metric, self.images_seen)
        if not has_run_away or self.progress() == 1:
            return
        for name in ("network", "average"):
            self._parts[name].load_state_dict(self._best.weights)
        # Its moments belong to the weights that ran away.
        self._parts["optimizer"].state.clear()
        self._best.forgive()
        self._recovery.rate_scale /= 2
        note = f"{self._best.fall()}, on at {self._recovery.rate_scale} times the learning rate"
        self._session.on_note(self.images_seen, note)

    def sample(self, x_BCHW: Tensor) -> None:
        """Show images of this step, in [0, 1]."""
        self._session.on_sample(self.images_seen, x_BCHW)

    def _learning_rate(self, peak: float) -> float:
        return self._recovery.rate_scale * self._budget.learning_rate(peak)

    def _speed(self) -> float:
        """Images per second of the time of day, since this process began or went back."""
        assert self._speed_since is not None
        return (self.images_seen - self._speed_since) / max(1e-9, self._clock.wall_seconds())

    def _stop_requested(self) -> bool:
        """Whether any of the processes was asked to stop."""
        if world_size() == 1:
            return self._session.stop_requested()
        asked = torch.tensor(float(self._session.stop_requested()), device=self.device)
        return bool(averaged(asked) > 0)

    def _roll_back(self, reason: str) -> None:
        failed_at = self._budget.position.before
        note = self._recovery.roll_back(reason)
        self._speed_since = self.images_seen
        self._session.on_note(failed_at, note)
