"""Part 2: nothing is lost or differs when a training is killed, stopped, or meets a NaN."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atelier.losses import gradient_penalty
from atelier.networks.discriminators import build_discriminator
from atelier.training.checkpoint import Checkpoints
from atelier.training.device import make_deterministic
from atelier.training.interruption import Stopped
from benchmarks.on_card import recipes
from benchmarks.on_card.data import labelled_images
from benchmarks.on_card.report import Finding, attempt, judge
from benchmarks.on_card.setting import Setting, different_weights, train

STEPS = 12
STOPPED_AFTER = 7
KILLED = ("gan r3, non-saturating", "restorer crnn gru, l2")
# Spectral normalisation and batch statistics have buffers, adaptive augmentation a state, the pools
# of a translation images.
STOPPED = (
    "classifier cnn",
    "gan dcgan, adaptive augmentation",
    "gan resnet, non-saturating",
    "gan progressive, non-saturating",
    "restorer unet, l2",
    "restorer nafnet, l2",
    "restorer cnn, adversarial",
    "translation cnn",
)
WAIT_SECONDS = 60.0  # for the first checkpoint of a process that is to be killed
PENALTY_BOUND = 0.1  # of a penalty's value and gradient in bfloat16 against float32


def check(setting: Setting) -> Iterator[Finding]:
    """Killed, stopped, thrown back; then the penalties' second derivatives in bfloat16."""
    table = recipes.all_recipes(setting.quick)
    for name in KILLED[:1] if setting.quick else KILLED:  # each start imports torch
        yield attempt(f"{name}: killed", partial(_kill, name, *table[name], setting))
    for name in STOPPED:
        yield attempt(f"{name}: stopped", partial(_stop, name, *table[name], setting))
    for name in ("gan dcgan, non-saturating", "restorer cnn, l2"):
        yield attempt(f"{name}: a NaN", partial(_roll_back, name, *table[name], setting))
    for name in ("dcgan", "resnet", "r3", "progressive"):
        yield attempt(f"penalty of {name} in bfloat16", partial(_penalty, name, setting))


def _model(recipe: dict[str, Any], quick: bool, steps: int = STEPS) -> Any:
    """With a checkpoint every third step."""
    budget = recipes.step_budget(steps, quick)
    budget["checkpoint_every_kimg"] = 3 * budget["log_every_kimg"]
    return recipes.build(recipe, quick, **budget)


def _whole(recipe: dict[str, Any], size: int, setting: Setting, steps: int = STEPS) -> nn.Module:
    """The network of a training that nothing disturbed."""
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        model = _model(recipe, setting.quick, steps)
        images = labelled_images(256, size)
        return train(model, images, setting.device, Path(folder), setting.check_time)[0].network


def _kill(name: str, recipe: dict[str, Any], size: int, setting: Setting) -> Finding:
    steps = 4 * STEPS  # so that it is still at work when it is killed
    whole = _whole(recipe, size, setting, steps)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        arguments = (recipe, size, steps, str(setting.device), setting.quick, folder)
        process = multiprocessing.get_context("spawn").Process(
            target=child, args=(torch.get_num_threads(), *arguments)
        )
        process.start()
        deadline = time.monotonic() + WAIT_SECONDS
        while len(list(Path(folder).glob("checkpoint-*.pt"))) < 2 and process.is_alive():
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        state = Checkpoints(Path(folder), "gpu").load()
        seen = int(state["images_seen"]) if state else 0
        model = _model(recipe, setting.quick, steps)
        images = labelled_images(256, size)
        resumed, _ = train(model, images, setting.device, Path(folder), setting.check_time)
    reasons = _compare(whole, resumed.network)
    if process.exitcode != -signal.SIGKILL or not 0 < seen < resumed.images_seen:
        reasons.append(f"it was not killed on its way: exit code {process.exitcode}")
    values = {"killed after images": seen, "of": resumed.images_seen}
    return judge(f"{name}: killed", values, reasons)


def child(
    threads: int,
    recipe: dict[str, Any],
    size: int,
    steps: int,
    device: str,
    quick: bool,
    folder: str,
) -> None:
    """What the process does that is killed."""
    make_deterministic(threads)
    model = _model(recipe, quick, steps)
    train(model, labelled_images(256, size), torch.device(device), Path(folder), _linger)


def _linger() -> bool:
    """No stop, but time to be killed in."""
    time.sleep(0.01)
    return False


def _stop(name: str, recipe: dict[str, Any], size: int, setting: Setting) -> Finding:
    whole = _whole(recipe, size, setting)
    model = _model(recipe, setting.quick)
    images = labelled_images(256, size)
    asked = []

    def stop() -> bool:
        asked.append(setting.check_time())
        return len(asked) == STOPPED_AFTER

    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        was_stopped = False
        try:
            train(model, images, setting.device, Path(folder), stop)
        except Stopped:
            was_stopped = True
        resumed, _ = train(model, images, setting.device, Path(folder), setting.check_time)
    reasons = _compare(whole, resumed.network)
    if not was_stopped:
        reasons.append("it was not stopped")
    return judge(f"{name}: stopped", {"after steps": STOPPED_AFTER, "of": STEPS}, reasons)


def _compare(whole: nn.Module, resumed: nn.Module) -> list[str]:
    different = different_weights(whole, resumed)
    if not different:
        return []
    return [f"{len(different)} weights are not bit-identical, the first {different[0]}"]


def at_step(number: int, act: Callable[[Tensor], Tensor]) -> Any:
    """Let `act` change what a network gives, once; returns the handle that ends it.

    Args:
        number: of the module's pass in which it happens, over all modules.
        act: takes and gives an output.
    """
    calls = []

    def hook(module: nn.Module, given: Any, output: Any) -> Any:
        calls.append(module)
        if len(calls) == number and isinstance(output, Tensor):
            return act(output)
        return None

    return nn.modules.module.register_module_forward_hook(hook)


def count_passes(recipe: dict[str, Any], size: int, setting: Setting) -> int:
    """Passes of all modules in a whole training."""
    calls: list[str] = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, given, output: calls.append(type(module).__name__)
    )
    try:
        _whole(recipe, size, setting)
    finally:
        handle.remove()
    return len(calls)


def _roll_back(name: str, recipe: dict[str, Any], size: int, setting: Setting) -> Finding:
    """One NaN among the activations, in the middle of the training."""
    model = _model(recipe, setting.quick)
    images = labelled_images(256, size)
    middle = count_passes(recipe, size, setting) // 3
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        handle = at_step(middle, lambda output: output * torch.nan)
        try:
            trained, log = train(model, images, setting.device, Path(folder), setting.check_time)
        finally:
            handle.remove()
    reasons = []
    if len(log.notes) != 1 or "back to" not in log.notes[0]:
        reasons.append(f"notes: {log.notes}")
    if not all(bool(weight.isfinite().all()) for weight in trained.network.parameters()):
        reasons.append("a weight is not finite")
    values = {"note": " ".join(log.notes), "images": trained.images_seen}
    return judge(f"{name}: a NaN", values, reasons)


def _penalty(name: str, setting: Setting) -> Finding:
    """R1 of real images and its gradient, in bfloat16 against float32."""
    model = recipes.build(recipes.gan(name, "non-saturating", setting.quick), True, kimg=1)
    shape = model.discriminator.model_dump()
    size = 32 if name == "progressive" else 28
    torch.manual_seed(0)
    D = build_discriminator(**shape, channels=1, image_size=size, num_classes=1)
    D = D.to(setting.device)
    x_BCHW = torch.rand(16, 1, size, size, device=setting.device) * 2 - 1
    labels_B = torch.zeros(16, dtype=torch.int64, device=setting.device)
    results = []
    for is_half in (False, True):
        D.zero_grad()
        D.train()
        given_BCHW = x_BCHW.clone().requires_grad_(True)
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=is_half):
            penalty = gradient_penalty(D(given_BCHW, labels_B).float(), given_BCHW).mean()
        penalty.backward()
        grads = [weight.grad.flatten() for weight in D.parameters() if weight.grad is not None]
        results.append((penalty.detach(), torch.cat(grads)))
    (penalty, grad), (half_penalty, half_grad) = results
    off = float((half_penalty - penalty).abs() / penalty)
    cosine = float(torch.nn.functional.cosine_similarity(grad, half_grad, dim=0))
    reasons = []
    if not off < PENALTY_BOUND:
        reasons.append(f"the penalty differs by {off:.1%}")
    if not cosine > 1 - PENALTY_BOUND:
        reasons.append(f"its gradient has a cosine of {cosine:.3f}")
    values = {"penalty": float(penalty), "off float32": off, "cosine of gradients": cosine}
    return judge(f"penalty of {name} in bfloat16", values, reasons)
