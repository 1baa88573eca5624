"""What a network costs: its size, its multiplications per image, and its speed on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from atelier.data.store import DatasetInfo
from atelier.params import GanModel, Model
from atelier.training.batches import part_size

BATCH = 32  # images, at most
MIN_SECONDS = 0.5


@torch.inference_mode()
def cost_of(
    network: Any, model: Model, info: DatasetInfo, device: torch.device
) -> dict[str, float]:
    """The cost of applying a trained network to images of the size that it was trained on.

    Args:
        network: in evaluation mode, on `device`.
        model: its parameters.
        info: of its dataset.
        device: where the speed is measured.

    Returns:
        cost/parameters; cost/macs_per_image, multiplications with addition of convolutions and
        matrix products, counted by torch; cost/images_per_second, in batches of 32, or of the
        training's where it is smaller; cost/image_side, pixels of the images that went in.
    """
    side = model.training.crop_size or info.image_size
    assert side is not None  # params.checks
    batch = min(BATCH, part_size(model.training))
    given: tuple[Tensor, ...]
    if isinstance(model, GanModel):
        z_BZ = torch.randn(batch, model.generator.latent_dim, device=device)
        labels_B = torch.zeros(batch, dtype=torch.int64, device=device)
        given = (z_BZ, labels_B)
    else:
        side //= getattr(network, "upscale", 1)
        x_BCHW = torch.rand(batch, info.channels, side, side, device=device)
        given = (x_BCHW.to(memory_format=torch.channels_last),)

    def apply(count: int) -> Tensor:
        images: Tensor = network(*(tensor[:count] for tensor in given))
        return images

    return {
        "cost/parameters": sum(weight.numel() for weight in network.parameters()),
        "cost/macs_per_image": count_macs(lambda: apply(1)),
        "cost/images_per_second": _speed(apply, batch),
        "cost/image_side": side,
    }


def count_macs(apply: Callable[[], object]) -> float:
    """Multiplications with addition of the convolutions and matrix products in what is called."""
    with FlopCounterMode(display=False) as counter:
        apply()
    return float(counter.get_total_flops()) / 2


def _speed(apply: Callable[[int], Tensor], batch: int) -> float:
    started = time.perf_counter()
    seconds = 0.0
    count = 0
    while seconds < MIN_SECONDS:
        apply(batch)[0].cpu()  # waits for the device
        count += batch
        seconds = time.perf_counter() - started
    return count / seconds
