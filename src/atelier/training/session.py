"""What the loops are given and what they return, and how networks and optimizers are set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atelier.params import Training
from atelier.training.checkpoint import Checkpoints


@dataclass(frozen=True)
class Session:
    """One training's connections; a loop knows no tracker, it only calls these.

    Attributes:
        device: where the networks live.
        seed: seed of weights, order and noise.
        checkpoints: where the state is kept.
        on_log: called with (images_seen, {name: value}) every `log_every_kimg`, and at the last
            step.
        on_sample: called with (images_seen, x_BCHW in [0, 1]) every `sample_every_kimg`, and then.
        on_note: called with (images_seen, sentence) when something happened that people should
            read.
        stop_requested: asked after every step; if true the training writes a checkpoint and stops.
        generated_GHWC: uint8 images that extend the training images; None: none do.
    """

    device: torch.device
    seed: int
    checkpoints: Checkpoints
    on_log: Callable[[int, Mapping[str, float]], None]
    on_sample: Callable[[int, Tensor], None]
    on_note: Callable[[int, str], None] = lambda images_seen, note: None
    stop_requested: Callable[[], bool] = lambda: False
    generated_GHWC: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Trained:
    """What a loop returns.

    Attributes:
        network: the averaged network, in evaluation mode.
        network_config: keyword arguments that build it again.
        images_seen: length of the training, which a budget in minutes only decides on the way.
    """

    network: nn.Module
    network_config: dict[str, Any]
    images_seen: int


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on its device, weights in channels_last (1.1 times as fast, on a CPU too)."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)


def adam(network: nn.Module, training: Training) -> torch.optim.Adam:
    """Adam over all weights, fused: one pass over memory, one kernel on CUDA."""
    return torch.optim.Adam(network.parameters(), lr=training.lr, betas=training.betas, fused=True)
