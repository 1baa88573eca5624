"""How fast a model trains on this machine: the real loop, for a second, on noise."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from atelier.data.ingest.handmade import Handmade, store_handmade
from atelier.factory.fingerprint import datasets_of
from atelier.factory.training_run import LOOPS, locate_files
from atelier.params import Model, Params
from atelier.project import Project
from atelier.training.checkpoint import Checkpoints
from atelier.training.device import choose_device, make_deterministic
from atelier.training.interruption import Stopped
from atelier.training.session import Session

# Of steps after the first one, which warms up.
SECONDS = 1.0
MAX_STEPS = 100
# Without an end in sight, reports, samples and checkpoints, so that a step is only a step.
NEVER = 1e6
NEVER_DUE = {
    "kimg": NEVER,
    "minutes": None,
    "log_every_kimg": NEVER,
    "sample_every_kimg": NEVER,
    "checkpoint_every_kimg": NEVER,
}
# The weights that are registered, as the loops call them in their checkpoints.
AVERAGES = ("average", "G_ema")
# Kinds of models whose checkpoints keep the weights that validated best.
VALIDATED = ("classification", "restoration")


@dataclass(frozen=True)
class Measured:
    """What was seen.

    Attributes:
        images_per_second: of the training.
        weights_bytes: of the weights that would be registered.
        checkpoint_bytes: of one checkpoint.
    """

    images_per_second: float
    weights_bytes: int
    checkpoint_bytes: int


class _Watch:
    """Notes when each step ends, and asks for a stop when that was enough."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._ends: list[float] = []

    def __call__(self) -> bool:
        self._ends.append(time.perf_counter())
        if len(self._ends) > MAX_STEPS:
            return True
        # A first step of several seconds has to do: a second one would take as long.
        if self._ends[-1] - self._began > 2 * SECONDS:
            return True
        return self._ends[-1] - self._ends[0] > SECONDS

    def seconds_a_step(self) -> float:
        """Without the first one where there are others; of those the median.

        What other programs take from a few of the steps is not of the model.
        """
        if len(self._ends) == 1:
            return self._ends[0] - self._began
        return median(end - begin for begin, end in pairwise(self._ends))


def measure(project: Project, params: Params, name: str, num_classes: Sequence[int]) -> Measured:
    """Train a model for a moment, in a temporary folder, without MLflow.

    Args:
        project: where the files that its parameters name lie.
        params: the desired state.
        name: of the model.
        num_classes: of each of its datasets; 0: no labels.
    """
    model = locate_files(project, params, name)
    device = choose_device(params.device)
    make_deterministic(params.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        datasets = []
        for used, count in zip(datasets_of(model), num_classes, strict=True):
            classes = [str(number) for number in range(count)]
            pictures = _noise(params, used, model, classes)
            datasets.append(store_handmade(root, used, params.datasets[used], pictures, classes))
        checkpoints = Checkpoints(root / "checkpoints", "measurement")
        watch = _Watch()
        session = Session(
            device,
            params.seed,
            checkpoints,
            on_log=lambda images_seen, values: None,
            on_sample=lambda images_seen, x_BCHW: None,
            stop_requested=watch,
        )
        try:
            LOOPS[model.kind](_without_end(model), datasets[0], session, *datasets[1:])
        except Stopped:
            pass
        sizes = [file.stat().st_size for file in (root / "checkpoints").iterdir()]
        state = checkpoints.load() or {}
    speed = model.training.batch_size / watch.seconds_a_step()
    weights_bytes = _bytes_of_weights(state)
    # Too short to be validated; afterwards a checkpoint holds the best weights as well.
    best_bytes = weights_bytes if model.kind in VALIDATED else 0
    return Measured(speed, weights_bytes, max(sizes) + best_bytes)


def _noise(params: Params, used: str, model: Model, classes: Sequence[str]) -> Iterator[Handmade]:
    """Two batches of random pictures of the right size, as unpaired trainings need, and one more.

    That is what could be validated on.
    """
    dataset = params.datasets[used]
    side = dataset.image_size or model.training.crop_size
    assert side is not None  # params.checks
    rng = np.random.default_rng(params.seed)
    for number in range(max(2 * model.training.batch_size, len(classes)) + 1):
        pixels_HWC = rng.integers(0, 256, (side, side, dataset.channels), np.uint8)
        class_name = classes[number % len(classes)] if classes else ""
        yield pixels_HWC, class_name, "train" if number else "validation"


def _without_end(model: Model) -> Model:
    # All images are needed for a batch.
    data = model.data.model_copy(update={"limit": None})
    training = model.training.model_copy(update=NEVER_DUE)
    return model.model_copy(update={"training": training, "data": data})


def _bytes_of_weights(state: dict[str, Any]) -> int:
    average = next(state[name] for name in AVERAGES if name in state)
    return sum(weight.numel() * weight.element_size() for weight in average.values())
