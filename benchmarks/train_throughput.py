"""Our training loops against loops by hand, every network against the machine's products.

`python benchmarks/train_throughput.py [--threads N] [--quick]` in a project whose data `atelier
run` has ingested; five minutes, quick: one and a half. The loops are the real ones, with MLflow,
averages and checkpoints. They are measured in turns: half a second of ours, as many steps of the
other or matrix products, and again: other programs come and go.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atelier.data.store import DatasetInfo, read_dataset
from atelier.params import GanModel, Model, load_params
from atelier.pictures import grid
from atelier.project import Project, find_project, set_environment
from atelier.training.checkpoint import Checkpoints
from atelier.training.datasets import ArrayImages, TrainingImages
from atelier.training.device import make_deterministic
from atelier.training.schedules import due
from atelier.training.session import Session
from benchmarks.bare_loops import bare_gan, bare_restorer
from benchmarks.flops import Flops
from benchmarks.gan_recipes import gan_model
from benchmarks.machine import described

SEED = 7
COMPARED = (
    "fashion-gan",
    "fashion-denoise",
    "fashion-inpaint",
)  # a GAN, a restorer and a recurrent one
SECONDS = 0.6  # of our loop in each round
WARM_UP = 5  # steps
SIDE = 2048  # of the matrices
NOISE_IMAGES = 2000
# What happens besides steps, and how often it does while we measure, in steps; the cost is then
# spread over the training's own rhythm. The checkpoint is written after the step has been timed, so
# its time is that of the next one.
EVENTS = {"log": 20, "sample": 60, "checkpoint": 60}


class Enough(Exception):
    """Ends a training that has been timed long enough."""


@dataclass
class Turns:
    """What a loop asks after each of its steps whether to stop.

    It times them, and takes turns with other work.

    Attributes:
        batch_size: of the training.
        rounds: how many at least; beside a bare loop until each event has been seen.
        bare: a step of the other loop.
        steps: seconds of a step in which nothing else happens, in each round.
        bare_steps: the same of the other loop.
        products: floating-point operations a second in a product of matrices, in each round.
        events: extra seconds of a log, a sample and a checkpoint, each time.
        flops: of one step.
    """

    batch_size: int
    rounds: int
    bare: Callable[[], None] | None
    steps: list[float] = field(default_factory=list)
    bare_steps: list[float] = field(default_factory=list)
    products: list[float] = field(default_factory=list)
    events: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in EVENTS})
    flops: int = 0
    _done: int = 0
    _times: list[tuple[float, set[str]]] = field(default_factory=list)
    _before: float = 0.0
    _counter: Flops | None = None

    def __call__(self) -> bool:
        """Between two steps of our loop."""
        seconds, self._done = time.perf_counter() - self._before, self._done + 1
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.flops, self._counter = self._counter.total, None
        elif self._done == WARM_UP:
            self._counter = Flops()
            self._counter.__enter__()
        elif self._done > WARM_UP + 1:
            self._times.append((seconds, self._happened()))
            if sum(seconds for seconds, _ in self._times) > SECONDS:
                self._finish_round()
        self._before = time.perf_counter()
        return False

    def _happened(self) -> set[str]:
        """What else took time since the call before."""
        positions = {name: self._done - (name == "checkpoint") for name in EVENTS}
        return {name for name, every in EVENTS.items() if due(positions[name], 1, every / 1000)}

    def _finish_round(self) -> None:
        plain = statistics.median(seconds for seconds, happened in self._times if not happened)
        self.steps.append(plain)
        for seconds, happened in self._times:
            logged = (
                statistics.mean(self.events["log"] or [0.0]) if happened > {"log"} else 0.0
            )  # a sample logs as well
            for name in sorted(happened)[-1:]:
                self.events[name].append(seconds - plain - logged)
        if self.bare is not None:
            torch.use_deterministic_algorithms(False)
            self.bare_steps.append(statistics.median(timed(self.bare) for _ in self._times))
            torch.use_deterministic_algorithms(True)
        else:
            self.products.append(product_rate())
        self._times.clear()
        if len(self.steps) >= self.rounds and (self.bare is None or all(self.events.values())):
            raise Enough


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def product_rate() -> float:
    """Floating-point operations a second of a large product of float32 matrices."""
    left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    return 2 * SIDE**3 / min(timed(lambda: left @ right) for _ in range(3))


def measured(
    model: Model, dataset: TrainingImages, run_log: Any, rounds: int, bare: Any = None
) -> Turns:
    """Train for so many rounds, as the factory does."""
    from atelier.factory.training_run import LOOPS

    kimg = model.training.batch_size / 1000
    rhythm: dict[str, Any] = {f"{name}_every_kimg": every * kimg for name, every in EVENTS.items()}
    rhythm |= {"kimg": 1e5, "minutes": None}
    turns = Turns(model.training.batch_size, rounds, bare)

    def on_log(images_seen: int, values: Any) -> None:
        run_log.metrics(images_seen, values)
        # Otherwise every few seconds, which most trainings need from one log to the next.
        run_log.flush()

    def on_sample(images_seen: int, x_BCHW: torch.Tensor) -> None:
        run_log.image(images_seen, "samples", grid(x_BCHW.float().cpu().numpy(), columns=8))

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), "")
        session = Session(
            torch.device("cpu"), SEED, checkpoints, on_log, on_sample, stop_requested=turns
        )
        try:
            LOOPS[model.kind](
                model.model_copy(update={"training": model.training.model_copy(update=rhythm)}),
                dataset,
                session,
            )
        except Enough:
            pass
    return turns


def noise_images(size: int, channels: int = 1) -> ArrayImages:
    """Images of which nothing matters but their number and size."""
    rng = np.random.default_rng(SEED)
    info = DatasetInfo(
        size, channels, 10, tuple("0123456789"), {"train": NOISE_IMAGES, "validation": 0, "test": 0}
    )
    pixels_NHWC = rng.integers(0, 256, (NOISE_IMAGES, size, size, channels), np.uint8)
    return ArrayImages(info, pixels_NHWC, rng.integers(0, 10, NOISE_IMAGES))


def compare(project: Project, run_log: Any, rounds: int) -> None:
    """Print how our loops do beside bare ones."""
    models = load_params(project.params_file).models
    print(
        "| model | ours, images/s | bare, images/s | ratio | in single rounds | log, sample, "
        "checkpoint: ms "
        "| steps alone |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in COMPARED:
        model = models[name]
        dataset, batch_size = read_dataset(project.root, model.dataset), model.training.batch_size
        torch.manual_seed(SEED)
        bare = (bare_gan if isinstance(model, GanModel) else bare_restorer)(model, dataset)
        turns = measured(model, dataset, run_log, rounds, bare)
        step, bare_step = statistics.median(turns.steps), statistics.median(turns.bare_steps)
        extra = {
            event: max(0.0, statistics.mean(seconds))
            for event, seconds in turns.events.items()
            if seconds
        }
        ours = step / batch_size + sum(
            seconds / (1000 * getattr(model.training, f"{event}_every_kimg"))
            for event, seconds in extra.items()
        )
        others = bare_step / batch_size
        single = [other / own for own, other in zip(turns.steps, turns.bare_steps, strict=True)]
        events = ", ".join(f"{1000 * seconds:.0f}" for seconds in extra.values())
        print(
            f"| {name} | {1 / ours:,.0f} | {1 / others:,.0f} | **{others / ours:.3f}** | "
            f"{min(single):.3f} to "
            f"{max(single):.3f} | {events} | {bare_step / step:.3f} |",
            flush=True,
        )


def shares(project: Project, run_log: Any, rounds: int) -> None:
    """Print which share of the machine's matrix products each network's training reaches."""
    shipped = load_params(project.params_file).models
    photographs = load_params(Path(__file__).parents[1] / "examples" / "photographs.yaml").models
    fashion, progressive, crops = noise_images(28), noise_images(32), noise_images(96)
    nafnet = {"name": "nafnet", "width": 32, "levels": 2, "blocks": 4}
    listed: list[tuple[str, Model, TrainingImages]] = [
        (f"{name} ({getattr(model, 'network', None) or model.generator})", model, fashion)
        for name, model in shipped.items()
    ]
    listed += [
        (
            network,
            gan_model("fashion", network, loss, 1.0),
            progressive if network == "progressive" else fashion,
        )
        for network, loss in (
            ("resnet", "hinge"),
            ("r3", "relativistic"),
            ("progressive", "non-saturating"),
        )
    ]
    listed += [
        (name, photographs[name], crops) for name in ("denoise", "denoise-recurrent", "enlarge")
    ]
    denoise = photographs["denoise"].model_dump(mode="json", exclude_none=True)
    listed.append(
        (
            "nafnet",
            type(photographs["denoise"]).model_validate_json(
                json.dumps({**denoise, "network": nafnet})
            ),
            crops,
        )
    )
    print(
        "\n| network | batch | images/s | GFLOP an image | GFLOP/s | of matrix products "
        "|\n|---|---|---|---|---|---|"
    )
    for name, model, dataset in listed:
        turns = measured(model, dataset, run_log, rounds)
        step, batch_size = statistics.median(turns.steps), model.training.batch_size
        rate, machine = turns.flops / step, statistics.median(turns.products)
        print(
            f"| {name} | {batch_size} | {batch_size / step:,.0f} | "
            f"{turns.flops / batch_size / 1e9:.3f} | "
            f"{rate / 1e9:.1f} of {machine / 1e9:.1f} | **{rate / machine:.2f}** |",
            flush=True,
        )


def main() -> None:
    """Print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--project", type=Path, help="folder with params.yaml and data/ (default: here or above)"
    )
    parser.add_argument(
        "--threads", type=int, default=None, help="of torch (default: one for each core)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    arguments = parser.parse_args()
    project = find_project(arguments.project)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Project(Path(folder))
        set_environment(scratch)
        from atelier.registry import Registry

        make_deterministic(arguments.threads or "auto")
        print(described(SEED))
        registry = Registry(scratch)
        run_log = registry.run_log(registry.runs.start("throughput", "throughput", {}))
        compare(project, run_log, 10 if arguments.quick else 40)
        shares(project, run_log, 2 if arguments.quick else 8)


if __name__ == "__main__":
    main()
