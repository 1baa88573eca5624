"""The course of one training: how far it is, its guarded steps, its checkpoints, and its end.

A loop reads: `while course.goes_on(): with course.step(): ...`. What happens inside of `step` may
fail with a loss that isn't finite; the course then goes back to the last checkpoint and on from
there at half the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from atelier.errors import TrainingError
from atelier.params import Training
from atelier.training.clock import Clock
from atelier.training.distributed import average_gradients, averaged, world_size
from atelier.training.health import Health
from atelier.training.interruption import Stopped
from atelier.training.schedules import due, fitting_warmup, learning_rate
from atelier.training.session import Session

MAX_ROLLBACKS = 3
# Of a budget in minutes: then the speed is known, and the length of the training in images.
CALIBRATION = 0.05


class NotFinite(Exception):
    """A loss or a weight became NaN or infinite."""


class Course:
    """One training from its first image, or from its last checkpoint, to its last.

    Args:
        session: the training's connections.
        training: budget, learning rate and rhythm.
        parts: all that changes while training, by name; each has `state_dict` and
            `load_state_dict`.
        rng: source of the training's random numbers.

    Attributes:
        start: images seen before the step that is under way.
        images_seen: images seen when that step is done.
        device: where the networks live.
    """

    def __init__(
        self, session: Session, training: Training, parts: Mapping[str, Any], rng: torch.Generator
    ) -> None:
        self._session, self._training, self._rng = session, training, rng
        self._health = Health()
        self._parts: dict[str, Any] = {**parts, "health": self._health}
        self.start = self.images_seen = 0
        self.device = session.device
        self._rate_scale, self._num_rollbacks, self._seconds = 1.0, 0, 0.0
        self._total_images = None if training.kimg is None else round(training.kimg * 1000)
        self._clock = Clock(session.device)
        if (state := session.checkpoints.load()) is None:
            self.save()  # what a first step that fails goes back to
        else:
            self._restore(state)
        self._began_at = self.images_seen

    def goes_on(self) -> bool:
        """Whether there is a step left to do."""
        if self._total_images is None:
            self._calibrate()
        return self._total_images is None or self.images_seen < self._total_images

    @contextmanager
    def step(self) -> Iterator[None]:
        """One step on `batch_size` images, from `start` to `images_seen`.

        Then a checkpoint if due, or at the end.

        Raises:
            TrainingError: if the training is hopeless, or fails again and again, with the reason.
            Stopped: if a stop was requested.
        """
        self.start, self.images_seen = (
            self.images_seen,
            self.images_seen + self._training.batch_size,
        )
        try:
            yield
            stopping = self._stop_requested()
            if stopping or self.due(self._training.checkpoint_every_kimg):
                self._refuse_broken_weights()
                self.save()
        except NotFinite as failure:
            self._roll_back(str(failure))
            return
        if stopping:
            raise Stopped

    def due(self, every_kimg: float) -> bool:
        """Whether the step crosses a multiple of `every_kimg` thousand images, or is the last."""
        return self.progress() == 1 or due(self.images_seen, self._training.batch_size, every_kimg)

    def progress(self) -> float:
        """The share of the training that is done then, in [0, 1]; 0 until its length is known."""
        return (
            0.0 if self._total_images is None else min(1.0, self.images_seen / self._total_images)
        )

    def precision(self) -> AbstractContextManager[Any]:
        """Within it, networks compute in the precision that the parameters ask for."""
        on_cuda = self._session.device.type == "cuda"
        half = self._training.precision == "bfloat16" or (
            self._training.precision == "auto" and on_cuda
        )
        return torch.autocast(self._session.device.type, torch.bfloat16, enabled=half)

    def minimise(
        self,
        name: str,
        optimizer: torch.optim.Optimizer,
        objective: Callable[..., Tensor],
        *batch: Tensor,
    ) -> Tensor:
        """One optimizer step on the mean of an objective over a batch, in `accumulate` parts.

        Args:
            name: of the loss, for messages.
            optimizer: of the weights that are to move; made with its peak learning rate.
            objective: takes a part of each tensor of the batch, returns the mean loss of that part.
            batch: tensors of equal length.

        Returns:
            The loss, detached.

        Raises:
            NotFinite: if the loss is NaN or infinite; no weight has moved then.
        """
        training, weights = (
            self._training,
            [p for group in optimizer.param_groups for p in group["params"]],
        )
        optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in zip(*(tensor.chunk(training.accumulate) for tensor in batch), strict=True):
            with self.precision():
                loss = objective(*part) / training.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        loss = averaged(sum(losses[1:], losses[0]))
        if not math.isfinite(number := loss.item()):
            raise NotFinite(f"{name} became {number}")
        average_gradients(weights)
        if training.clip_gradients is not None:
            torch.nn.utils.clip_grad_norm_(weights, training.clip_gradients)
        for group in optimizer.param_groups:
            group["lr"] = self._rate(optimizer.defaults["lr"])
        optimizer.step()
        return loss

    def log(self, values: Mapping[str, float | Tensor]) -> None:
        """Report values of this step, with the speed, and end a training hopeless for too long.

        Raises:
            TrainingError: if it is, with the reason.
        """
        here = torch.tensor(
            [float(value) for value in values.values()], dtype=torch.float64, device=self.device
        )
        numbers = dict(
            zip(values, averaged(here).tolist(), strict=True)
        )  # so that all processes end alike
        numbers |= {
            "lr": self._rate(self._training.lr),
            "minutes": (self._seconds + self._clock.seconds()) / 60,
        }
        numbers |= {
            "images_per_second": (self.images_seen - self._began_at)
            / max(1e-9, self._clock.wall_seconds())
        }
        if self._total_images is not None:
            numbers["total_kimg"] = self._total_images / 1000
        self._session.on_log(self.images_seen, numbers)
        if self._total_images is not None:
            self._health.check(self.images_seen, numbers, self._total_images)

    def sample(self, x_BCHW: Tensor) -> None:
        """Show images of this step, in [0, 1]."""
        self._session.on_sample(self.images_seen, x_BCHW)

    def save(self) -> None:
        """Write a checkpoint of this position."""
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {
            "rng": self._rng.get_state(),
            "images_seen": self.images_seen,
            "total_images": self._total_images,
        }
        state |= {"rate_scale": self._rate_scale, "num_rollbacks": self._num_rollbacks}
        state |= {"seconds": self._seconds + self._clock.seconds()}
        self._session.checkpoints.save(state)

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self._rng.set_state(state["rng"])
        self.images_seen, self._total_images = int(state["images_seen"]), state["total_images"]
        self._rate_scale, self._num_rollbacks = (
            float(state["rate_scale"]),
            int(state["num_rollbacks"]),
        )
        self._seconds = float(state["seconds"])

    def _rate(self, peak: float) -> float:
        warmup, total = round(self._training.warmup_kimg * 1000), self._total_images
        if (
            total is None
        ):  # at its peak after the warm-up, until the length of the training is known
            return self._rate_scale * learning_rate(
                peak, min(self.start, warmup), warmup + 1, warmup
            )
        return self._rate_scale * learning_rate(
            peak, self.start, total, fitting_warmup(warmup, total)
        )

    def _stop_requested(self) -> bool:
        """Whether any of the processes was asked to stop."""
        if world_size() == 1:
            return self._session.stop_requested()
        asked = torch.tensor(float(self._session.stop_requested()), device=self._session.device)
        return bool(averaged(asked) > 0)

    def _refuse_broken_weights(self) -> None:
        """A finite loss can have a gradient that isn't.

        Such weights must not replace the last good ones.
        """
        for name, part in self._parts.items():
            if isinstance(part, torch.nn.Module) and not all(
                bool(w.isfinite().all()) for w in part.parameters()
            ):
                raise NotFinite(f"a weight of {name} became NaN or infinite")

    def _roll_back(self, reason: str) -> None:
        failed_at, num_rollbacks, scale = self.start, self._num_rollbacks + 1, self._rate_scale / 2
        if num_rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"{reason} after {failed_at / 1000:.1f} kimg, at {self._rate_scale} times the "
                "learning rate, which was "
                f"halved {MAX_ROLLBACKS} times; the last checkpoint is untouched. Lower "
                "training.lr."
            )
        used = self._seconds + self._clock.seconds()
        state = self._session.checkpoints.load()
        assert state is not None  # the first one was written before the first step
        self._restore(state)
        self._num_rollbacks, self._rate_scale = num_rollbacks, scale
        self._seconds, self._clock = used, Clock(self.device)  # what failed took its time as well
        self._began_at = self.images_seen
        self.save()  # a kill from now on must not forget the lower learning rate
        self._session.on_note(
            failed_at,
            f"{reason} after {failed_at / 1000:.1f} kimg: back to {self.images_seen / 1000:.1f} "
            "kimg, "
            f"on at {scale} times the learning rate",
        )

    def _calibrate(self) -> None:
        """Once the speed is known, turn the budget in minutes into images.

        From here on nothing depends on a clock.
        """
        assert self._training.minutes is not None  # params.checks
        seconds = torch.tensor(self._seconds + self._clock.seconds(), dtype=torch.float64)
        used = float(averaged(seconds.to(self._session.device)))
        if self.images_seen and used >= CALIBRATION * self._training.minutes * 60:
            batch_size = self._training.batch_size
            num_batches = self.images_seen / batch_size * self._training.minutes * 60 / used
            steps_done = self.images_seen // batch_size
            # One more at least: the last step reports and saves, so it has to be known for the last
            # one.
            self._total_images = max(steps_done + 1, round(num_batches)) * batch_size
