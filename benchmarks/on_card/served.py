"""Part 4: what is served on the card is what is served on a CPU; memory, and the lack of it."""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from atelier.networks import classifiers
from atelier.networks.generators import GENERATORS
from atelier.networks.restorers import RESTORERS
from atelier.serving.bundle import write_bundle
from atelier.serving.tiles import Restorer
from atelier.training.checkpoint import Checkpoints
from benchmarks.on_card import recipes
from benchmarks.on_card.data import labelled_images, rectangles
from benchmarks.on_card.report import Finding, Value, attempt, describe_error, judge
from benchmarks.on_card.resume import at_step, count_passes
from benchmarks.on_card.setting import Setting, different_weights, train

STEPS = 12
# Values in [0, 1] may differ by one grey level of 255: convolutions on a card multiply in TF32.
BOUND = 1 / 255
SERVED = (
    "classifier cnn",
    "gan dcgan, non-saturating",
    "gan r3, non-saturating",
    "restorer cnn, l2",
    "restorer crnn gru, l2",
    "restorer unet, l2",
    "restorer resnet_sr, l2",
)
SERVED_AS = {"classification": "classification", "gan": "gan", "restoration": "restoration"}
TOO_MANY_BYTES = 2**50  # 1 PiB: no machine has it
OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory")


def check(setting: Setting) -> Iterator[Finding]:
    """Predictions on both, a picture in tiles, and trainings that run out of memory."""
    table = recipes.all_recipes(setting.quick)
    for name in SERVED:
        yield attempt(f"{name}: served", partial(_serve, name, *table[name], setting))
    yield attempt("a picture in tiles", partial(_tile, table["restorer cnn, l2"][0], setting))
    for name in ("gan dcgan, non-saturating", "restorer unet, l2"):
        yield attempt(f"{name}: out of memory", partial(_exhaust, name, *table[name], setting))


def _bundle(recipe: dict[str, Any], size: int, setting: Setting, folder: Path) -> Path:
    """A short training on the device, as it is registered."""
    model = recipes.build(recipe, setting.quick, **recipes.step_budget(STEPS, setting.quick))
    images = labelled_images(256, size)
    trained, _ = train(model, images, setting.device, folder / "checkpoints", setting.check_time)
    return write_bundle(folder / "bundle", SERVED_AS[model.kind], trained, images.info)


def load_network(bundle: Path, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a bundle and its config; `serving.served_model` needs MLflow."""
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    arguments = dict(config["network"])
    tables = {"classification": classifiers.CLASSIFIERS, "gan": GENERATORS}
    builders = tables.get(config["kind"], RESTORERS)
    network = builders[arguments.pop("name")](**arguments)
    network.load_state_dict(load_file(bundle / "weights.safetensors"))
    return network.to(device).eval().requires_grad_(False), config


def _serve(name: str, recipe: dict[str, Any], size: int, setting: Setting) -> Finding:
    _reset_peak(setting)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        bundle = _bundle(recipe, size, setting, Path(folder))
        answers = [
            predict(bundle, device, size) for device in (torch.device("cpu"), setting.device)
        ]
    expected, answer = answers
    off = float(np.abs(expected - answer).max())
    reasons = []
    if not np.isfinite(answer).all():
        reasons.append("not finite")
    if not off <= BOUND:
        reasons.append(f"differs by {off:.2g}, more than {BOUND:.2g}")
    values = {"largest difference": off, "bound": BOUND, **_peak(setting)}
    return judge(f"{name}: served", values, reasons)


@torch.inference_mode()
def predict(bundle: Path, device: torch.device, size: int) -> NDArray[np.float32]:
    """Probabilities, images or restored images, float32 in [0, 1]."""
    network, config = load_network(bundle, device)
    rng = torch.Generator().manual_seed(0)
    if config["kind"] == "gan":
        labels_N = torch.arange(16) % config["network"]["num_classes"]
        z_NZ = torch.randn(16, config["network"]["latent_dim"], generator=rng)
        x_NCHW: Tensor = network(z_NZ.to(device), labels_N.to(device)) * 0.5 + 0.5
        return x_NCHW.clamp(0, 1).cpu().numpy()
    y_NCHW = torch.rand(16, config["channels"], size, size, generator=rng)
    if config["kind"] == "classification":
        probabilities_NK: Tensor = network(y_NCHW.to(device)).softmax(dim=1)
        return probabilities_NK.cpu().numpy()
    restorer = Restorer(config["network"]["name"], network, config["channels"])
    return restorer.restore(y_NCHW, {})


@torch.inference_mode()
def _tile(recipe: dict[str, Any], setting: Setting) -> Finding:
    """A picture that is larger than a pass, on both."""
    side = 800 if setting.quick else 2000
    x_NHWC = rectangles(1, side)
    y_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2) / 255
    _reset_peak(setting)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder, torch.inference_mode(False):
        bundle = _bundle(recipe, 28, setting, Path(folder))
        answers = []
        for device in (torch.device("cpu"), setting.device):
            with torch.inference_mode():
                network, config = load_network(bundle, device)
                answers.append(Restorer("cnn", network, config["channels"]).restore(y_NCHW, {}))
    off = float(np.abs(answers[0] - answers[1]).max())
    reasons = [] if off <= BOUND else [f"differs by {off:.2g}, more than {BOUND:.2g}"]
    values: dict[str, Value] = {"side": side, "largest difference": off, **_peak(setting)}
    return judge("a picture in tiles", values, reasons)


def _exhaust(name: str, recipe: dict[str, Any], size: int, setting: Setting) -> Finding:
    """An allocation that fails in the middle of a step; the training then goes on from before."""
    budget = recipes.step_budget(STEPS, setting.quick)
    budget["checkpoint_every_kimg"] = 3 * budget["log_every_kimg"]
    model = recipes.build(recipe, setting.quick, **budget)
    images = labelled_images(256, size)
    middle = count_passes(recipe, size, setting) // 2

    def allocate(output: Tensor) -> Tensor:
        return torch.empty(TOO_MANY_BYTES, dtype=torch.uint8, device=setting.device)

    said = ""
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        handle = at_step(middle, allocate)
        try:
            train(model, images, setting.device, Path(folder), setting.check_time)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            said = describe_error(error)
        finally:
            handle.remove()
        state = Checkpoints(Path(folder), "gpu").load()
        resumed, _ = train(model, images, setting.device, Path(folder), setting.check_time)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        whole, _ = train(model, images, setting.device, Path(folder), setting.check_time)
    reasons = []
    if not any(words in said for words in OUT_OF_MEMORY):
        reasons.append(f"ended with {said!r}")
    seen = int(state["images_seen"]) if state else 0
    if not 0 < seen < resumed.images_seen:
        reasons.append(f"the checkpoint is of {seen} images")
    if different_weights(whole.network, resumed.network):
        reasons.append("resumed, it ends with other bits")
    values = {"said": said, "checkpoint of": seen, "images": resumed.images_seen}
    return judge(f"{name}: out of memory", values, reasons)


def _reset_peak(setting: Setting) -> None:
    if setting.on_cuda:
        torch.cuda.reset_peak_memory_stats(setting.device)


def _peak(setting: Setting) -> dict[str, Value]:
    """Of the card since `_reset_peak`; of a CPU's process since its start."""
    if setting.on_cuda:
        return {"peak MiB": torch.cuda.max_memory_allocated(setting.device) / 2**20}
    return {"peak MiB of the process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
