"""Part 6: two processes that share a training, on one card by gloo, on two by nccl."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from atelier.training.checkpoint import Checkpoints
from atelier.training.device import make_deterministic
from benchmarks.on_card import recipes
from benchmarks.on_card.data import labelled_images
from benchmarks.on_card.report import SKIPPED, Finding, attempt, judge
from benchmarks.on_card.setting import Setting, train

PROCESSES = 2
STEPS = 10
NAMES = ("gan r3, non-saturating", "restorer crnn gru, l2")
# Of a loss, as a share: each process sums half of the batch, on a card in bfloat16.
BOUNDS = {"cpu": 1e-4, "cuda": 0.05}
WAIT_SECONDS = 150.0


def check(setting: Setting) -> Iterator[Finding]:
    """The losses of two processes are those of one, and both have the same weights."""
    table = recipes.all_recipes(setting.quick)
    names = NAMES[1:] if setting.quick else NAMES
    for name in names:
        recipe, size = table[name]
        yield attempt(f"{name}: gloo", partial(_share, name, recipe, size, "gloo", setting))
        if setting.on_cuda and torch.cuda.device_count() >= PROCESSES:
            yield attempt(f"{name}: nccl", partial(_share, name, recipe, size, "nccl", setting))
        else:
            count = torch.cuda.device_count() if setting.on_cuda else 0
            yield Finding(f"{name}: nccl", SKIPPED, {}, f"it needs two cards, here are {count}")


def _share(name: str, recipe: dict[str, Any], size: int, backend: str, setting: Setting) -> Finding:
    model = _model(recipe, setting.quick, 1)
    images = labelled_images(256, size)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        _, log = train(model, images, setting.device, Path(folder) / "one", setting.check_time)
        began = time.perf_counter()
        codes = _launch(
            (recipe, size, backend, str(setting.device), setting.quick, folder), setting
        )
        seconds = time.perf_counter() - began
        if any(codes):
            reason = f"the processes ended with the exit codes {codes}"
            return judge(f"{name}: {backend}", {}, [reason])
        files = [Path(folder) / f"{rank}.pt" for rank in range(PROCESSES)]
        shared = [torch.load(file, weights_only=True) for file in files]
    kind = "d_loss" if log.curve("d_loss") else "loss"
    one = np.array(log.curve(kind))
    two = np.array(shared[0]["losses"][kind])
    off = float(np.abs(one - two).max() / np.abs(one).max())
    bound = BOUNDS[setting.device.type]
    reasons = []
    if not off <= bound:
        reasons.append(f"the losses differ by {off:.2g}, more than {bound:.2g}")
    weights = [found["weights"] for found in shared]
    different = [key for key in weights[0] if not torch.equal(weights[0][key], weights[1][key])]
    if different:
        reasons.append(f"{len(different)} weights differ between the processes: {different[0]}")
    values = {"largest difference": off, "bound": bound, "seconds with the start": seconds}
    return judge(f"{name}: {backend}", values, reasons)


def _model(recipe: dict[str, Any], quick: bool, devices: int) -> Any:
    return recipes.build(recipe, quick, devices=devices, **recipes.step_budget(STEPS, quick))


def _launch(arguments: tuple[Any, ...], setting: Setting) -> list[int | None]:
    """Exit codes of the processes; None: it had to be ended."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=take_part, args=(rank, *arguments)) for rank in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    deadline = min(setting.deadline, time.perf_counter() + WAIT_SECONDS)
    for process in processes:
        process.join(max(1.0, deadline - time.perf_counter()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()
    return codes


def take_part(
    rank: int,
    recipe: dict[str, Any],
    size: int,
    backend: str,
    device: str,
    quick: bool,
    folder: str,
) -> None:
    """One process; it leaves its losses and weights in the folder."""
    make_deterministic(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # this machine's name may not resolve
    place = torch.device(device)
    if backend == "nccl":
        place = torch.device("cuda", rank)
    if place.type == "cuda":
        torch.cuda.set_device(place.index or 0)
    dist.init_process_group(
        backend, init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    model = _model(recipe, quick, PROCESSES)
    checkpoints = Checkpoints(Path(folder) / "two", "gpu", writable=rank == 0)
    images = labelled_images(256, size)
    trained, log = train(model, images, place, checkpoints, lambda: False)
    losses = {name: log.curve(name) for name in ("loss", "d_loss", "g_loss")}
    weights = {key: value.cpu() for key, value in trained.network.state_dict().items()}
    torch.save({"losses": losses, "weights": weights}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
