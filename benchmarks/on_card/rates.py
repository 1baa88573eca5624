"""Part 3: how fast our loops are beside bare ones, and where the time goes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from atelier.params import GanModel
from atelier.training import resident
from atelier.training.datasets import TrainingImages
from benchmarks.bare_loops import Way, bare_gan, bare_restorer
from benchmarks.flops import Flops
from benchmarks.on_card import recipes
from benchmarks.on_card.data import labelled_images
from benchmarks.on_card.report import (
    FAILED,
    MEASURED,
    PASSED,
    SKIPPED,
    Finding,
    Value,
    attempt,
)
from benchmarks.on_card.setting import Setting, synchronise, train, with_training

GOAL = 0.97  # of the bare loop's images a second
PROFILED = 10  # steps
TOP = 10


class Enough(Exception):
    """Ends a training that has been measured long enough."""


@dataclass
class Turns:
    """What our loop asks after each step: it is timed in blocks, and takes turns with a bare one.

    Attributes:
        device: where both compute.
        bare: a step of the other loop.
        steps: in a block.
        rounds: blocks of each.
        check_time: raises when it is late.
        ours: seconds of a step, in each block.
        others: the same of the other loop.
    """

    device: torch.device
    bare: Callable[[], None]
    steps: int
    rounds: int
    check_time: Callable[[], bool]
    ours: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    _done: int = 0
    _began: float = 0.0

    def __call__(self) -> bool:
        """Between two steps of our loop; the first block of each warms up."""
        self.check_time()
        self._done += 1
        if self._done % self.steps:
            return False
        synchronise(self.device)
        if self._done > self.steps:
            self.ours.append((time.perf_counter() - self._began) / self.steps)
        seconds = self._time_bare()
        if self._done > self.steps:
            self.others.append(seconds)
        if len(self.ours) == self.rounds:
            raise Enough
        self._began = time.perf_counter()
        return False

    def _time_bare(self) -> float:
        was_deterministic = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        began = time.perf_counter()
        for _ in range(self.steps):
            self.bare()
        synchronise(self.device)
        seconds = (time.perf_counter() - began) / self.steps
        torch.use_deterministic_algorithms(was_deterministic)
        return seconds


def check(setting: Setting) -> Iterator[Finding]:
    """Ratios, the card's rate, and the ten kernels that take longest."""
    rate = product_rate(setting)
    precision = "bfloat16" if setting.on_cuda else "float32"
    yield Finding(f"product of matrices, {precision}", MEASURED, {"TFLOP/s": rate / 1e12})
    for name, model, dataset in _measured_models(setting.quick):
        plain = Way(setting.device, half=setting.on_cuda)
        yield attempt(name, partial(_compare, name, model, dataset, plain, rate, setting))
        contiguous = replace(plain, memory_format=torch.contiguous_format)
        subject = f"{name}: bare loop without channels_last"
        yield attempt(
            subject, partial(_compare, subject, model, dataset, contiguous, rate, setting, goal=0.0)
        )
        subject = f"{name}: pixels not on the card"
        if setting.on_cuda:
            with not_resident():
                yield attempt(
                    subject,
                    partial(_compare, subject, model, dataset, plain, rate, setting, goal=0.0),
                )
        else:
            yield Finding(subject, SKIPPED, {}, "a CPU reads the mapped files")
        yield attempt(
            f"{name}: where the time goes", partial(_profile, name, model, dataset, setting)
        )
    compiled = _measured_models(setting.quick)
    for name, model, dataset in compiled[-1:] if setting.quick else compiled:
        way = Way(setting.device, half=setting.on_cuda, compile=True)
        subject = f"{name}: compiled"
        yield attempt(subject, partial(_compare, subject, model, dataset, way, rate, setting))


def _measured_models(quick: bool) -> list[tuple[str, Any, TrainingImages]]:
    """A GAN, a recurrent and a plain restorer, with what they learn from."""
    images = labelled_images(512 if quick else 20_000, 28)
    networks = recipes.restorer_networks(quick)
    chosen = {
        "gan dcgan": recipes.gan("dcgan", "non-saturating", quick),
        "restorer unet": recipes.restorer(networks["unet"]),
        "restorer cnn": recipes.restorer(networks["cnn"]),
    }
    batch = {} if quick else {"batch_size": 256}
    rhythm = {"kimg": 1e6, "sample_every_kimg": 1e6, "checkpoint_every_kimg": 1e6}
    return [
        (name, recipes.build(recipe, quick, **batch, **rhythm), images)
        for name, recipe in chosen.items()
    ]


def _compare(
    subject: str,
    model: Any,
    dataset: TrainingImages,
    way: Way,
    rate: float,
    setting: Setting,
    goal: float = GOAL,
) -> Finding:
    """Our loop and a bare one in turns.

    On a card the ratio has a goal; on a CPU, where tiny steps are compared beside other programs,
    none.
    """
    model = with_training(model, compile=way.compile)
    torch.manual_seed(0)
    bare = (bare_gan if isinstance(model, GanModel) else bare_restorer)(model, dataset, way)
    flops = 0
    if not way.compile:
        with Flops() as counted:
            bare()
        flops = counted.total
    steps = 10 if setting.quick else 50
    turns = Turns(setting.device, bare, steps, 3 if setting.quick else 7, setting.check_time)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        try:
            train(model, dataset, setting.device, Path(folder), turns)
        except Enough:
            pass
    ours = statistics.median(turns.ours)
    others = statistics.median(turns.others)
    ratios = [other / own for own, other in zip(turns.ours, turns.others, strict=True)]
    batch_size = model.training.batch_size
    values: dict[str, Value] = {"batch": batch_size, "images/s": batch_size / ours}
    values |= {"bare": batch_size / others, "ratio": statistics.median(ratios)}
    values |= {"lowest ratio": min(ratios), "highest": max(ratios)}
    if flops:
        values["share of the product's rate"] = flops / ours / rate
    if setting.quick or not goal:
        return Finding(subject, MEASURED, values)
    values["goal"] = goal
    is_reached = statistics.median(ratios) >= goal
    reason = "" if is_reached else f"below {goal} of the bare loop"
    return Finding(subject, PASSED if is_reached else FAILED, values, reason)


@contextmanager
def not_resident() -> Iterator[None]:
    """Within it no pixels are held on the card."""
    before = resident.SHARE_OF_FREE_MEMORY
    resident.SHARE_OF_FREE_MEMORY = 0.0
    try:
        yield
    finally:
        resident.SHARE_OF_FREE_MEMORY = before


def product_rate(setting: Setting) -> float:
    """Floating-point operations a second of a large product of matrices."""
    side = 512 if setting.quick else 8192
    dtype = torch.bfloat16 if setting.on_cuda else torch.float32
    left = torch.rand(side, side, device=setting.device, dtype=dtype)
    seconds = []
    for _ in range(5):
        synchronise(setting.device)
        began = time.perf_counter()
        left @ left
        synchronise(setting.device)
        seconds.append(time.perf_counter() - began)
    return float(2 * side**3 / min(seconds))


def _profile(name: str, model: Any, dataset: TrainingImages, setting: Setting) -> Finding:
    """What takes longest in ten steps of our loop, by torch's profiler."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if setting.on_cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profiler = torch.profiler.profile(activities=activities)
    done: list[int] = []

    def stop() -> bool:
        setting.check_time()
        done.append(1)
        if len(done) == PROFILED:
            profiler.start()
        if len(done) == 2 * PROFILED:
            synchronise(setting.device)
            profiler.stop()
            raise Enough
        return False

    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        try:
            train(model, dataset, setting.device, Path(folder), stop)
        except Enough:
            pass
    times = {event.key: _own_seconds(event, setting.on_cuda) for event in profiler.key_averages()}
    whole = sum(times.values())
    longest = sorted(times, key=lambda key: -times[key])[:TOP]
    shares: dict[str, Value] = {key[:60]: f"{times[key] / whole:.1%}" for key in longest}
    unit = "card" if setting.on_cuda else "CPU"
    values = {f"{unit} ms a step": 1000 * whole / PROFILED, **shares}
    return Finding(f"{name}: where the time goes", MEASURED, values)


def _own_seconds(event: Any, on_cuda: bool) -> float:
    microseconds = event.self_device_time_total if on_cuda else event.self_cpu_time_total
    return float(microseconds) / 1e6
