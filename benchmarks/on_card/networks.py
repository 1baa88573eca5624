"""Part 1: every network and loss learns on the card, and as on the CPU."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.on_card import recipes
from benchmarks.on_card.data import labelled_images
from benchmarks.on_card.report import Finding, Value, attempt, judge
from benchmarks.on_card.setting import Log, Setting, train

STEPS = 30
WINDOW = 5  # steps, whose mean is compared
# The first losses against those of float32 on the CPU, as a share of the largest of them. After a
# few steps two GANs that round differently are two GANs. bfloat16 has 8 bits of mantissa: 0.4 % an
# operation; float32 on a card multiplies in TF32 within convolutions: 0.05 %.
BOUNDS = {"float32": 0.02, "bfloat16": 0.1}
CPU = torch.device("cpu")
# By subject, with the reason; one that is mended fails until it is taken off.
KNOWN_FAULTS: dict[str, str] = {}


def check(setting: Setting) -> Iterator[Finding]:
    """Losses of 30 steps in both precisions: finite, falling, close to the CPU's."""
    for name, (recipe, size) in recipes.all_recipes(setting.quick).items():
        reference = _losses(recipe, size, "float32", CPU, setting)
        for precision in BOUNDS:
            subject = f"{name}, {precision}"
            work = partial(_compare, subject, recipe, size, precision, reference, setting)
            yield attempt(subject, work, KNOWN_FAULTS.get(subject, ""))


def _compare(
    subject: str,
    recipe: dict[str, Any],
    size: int,
    precision: str,
    reference: Log,
    setting: Setting,
) -> Finding:
    if precision == "float32" and not setting.on_cuda:
        return _finding(subject, reference, reference, BOUNDS[precision])
    log = _losses(recipe, size, precision, setting.device, setting)
    return _finding(subject, log, reference, BOUNDS[precision])


def _losses(
    recipe: dict[str, Any], size: int, precision: str, device: torch.device, setting: Setting
) -> Log:
    budget = recipes.step_budget(STEPS, setting.quick)
    model = recipes.build(recipe, setting.quick, precision=precision, **budget)
    images = labelled_images(256, size)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        return train(model, images, device, Path(folder), setting.check_time)[1]


def _finding(subject: str, log: Log, reference: Log, bound: float) -> Finding:
    name = "d_loss" if log.curve("g_loss") else "loss"
    losses = log.curve(name)
    expected = reference.curve(name)[:WINDOW]
    reasons = list(log.notes)
    if not all(map(math.isfinite, losses)):
        reasons.append(f"a {name} is not finite")
    means = [
        statistics.mean(losses[start : start + WINDOW])
        for start in range(0, len(losses) - WINDOW + 1, WINDOW)
    ]
    # The players of a game take turns in losing, so its lowest window counts, not its last.
    reached = min(means[1:])
    if not reached < means[0]:
        reasons.append(f"{name} does not fall: {means[0]:.3g}, then at least {reached:.3g}")
    values: dict[str, Value] = {"first": means[0], "lowest": reached}
    if log is not reference:
        scale = max(map(abs, expected))
        error = max(abs(ours - cpu) for ours, cpu in zip(losses, expected, strict=False)) / scale
        values |= {"off the CPU's float32": error, "bound": bound}
        if error > bound:
            reasons.append(f"the first {WINDOW} losses differ from the CPU's by {error:.1%}")
    return judge(subject, values, reasons)
