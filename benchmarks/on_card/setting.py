"""Where and how large everything is tried, and trainings whose log is kept in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atelier.params import Model
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import train_classifier
from atelier.training.datasets import TrainingImages
from atelier.training.gan import train_gan
from atelier.training.restoration import train_restorer
from atelier.training.session import Session, Trained
from atelier.training.translation import train_translation
from benchmarks.on_card.report import OutOfTime

# As in atelier.factory.training_run, which needs psutil and MLflow.
LOOPS: dict[str, Callable[..., Trained]] = {
    "classification": train_classifier,
    "gan": train_gan,
    "restoration": train_restorer,
    "translation": train_translation,
}
SEED = 7


@dataclass(frozen=True)
class Setting:
    """What every part is told.

    Attributes:
        device: that is tried.
        quick: tiny networks and few steps.
        shard: folder of data that was brought along; None: data is made.
        scratch: an empty folder for checkpoints.
        seconds: that the part may take.
        deadline: when they end, by `time.perf_counter`.
    """

    device: torch.device
    quick: bool
    shard: Path | None
    scratch: Path
    seconds: float
    deadline: float

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a card."""
        return self.device.type == "cuda"

    def check_time(self) -> bool:
        """False, as an answer to whether a training is to stop.

        Raises:
            OutOfTime: if it is late.
        """
        if time.perf_counter() > self.deadline:
            raise OutOfTime(f"the part's {self.seconds:.0f} s are used up")
        return False


@dataclass
class Log:
    """What a training reported.

    Attributes:
        values: by the number of images seen.
        notes: sentences.
    """

    values: dict[int, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, images_seen: int, values: Mapping[str, float]) -> None:
        """Several reports of one step are one."""
        self.values.setdefault(images_seen, {}).update(values)

    def curve(self, name: str) -> list[float]:
        """A value in the order of the steps."""
        return [values[name] for _, values in sorted(self.values.items()) if name in values]


def train(
    model: Model,
    dataset: TrainingImages,
    device: torch.device,
    checkpoints: Path | Checkpoints,
    stop: Callable[[], bool],
) -> tuple[Trained, Log]:
    """Train as the factory does, or go on from the checkpoint, without a tracker.

    Args:
        model: what is trained.
        dataset: what it learns from.
        device: where.
        checkpoints: or the folder of them.
        stop: asked after every step.
    """
    log = Log()
    if isinstance(checkpoints, Path):
        checkpoints = Checkpoints(checkpoints, "gpu")
    session = Session(
        device,
        SEED,
        checkpoints,
        on_log=log.add,
        on_sample=_ignore,
        on_note=lambda images_seen, note: log.notes.append(note),
        stop_requested=stop,
    )
    return LOOPS[model.kind](model, dataset, session), log


def _ignore(images_seen: int, x_BCHW: Tensor) -> None:
    """Samples are for people."""


def with_training(model: Any, **changes: Any) -> Any:
    """The model with other values of its training."""
    return model.model_copy(update={"training": model.training.model_copy(update=changes)})


def synchronise(device: torch.device) -> None:
    """Wait until a card has done what it was told; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def different_weights(first: torch.nn.Module, second: torch.nn.Module) -> list[str]:
    """Names of the weights and buffers that are not bit-identical."""
    theirs = second.state_dict()
    return [
        name
        for name, value in first.state_dict().items()
        if not torch.equal(value.cpu(), theirs[name].cpu())
    ]
