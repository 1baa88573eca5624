"""What the three loops share: hooks to the outside, guarded optimizer steps, and the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from atelier.errors import TrainingError
from atelier.params import Training
from atelier.training.checkpoint import Checkpoints
from atelier.training.schedules import learning_rate


@dataclass(frozen=True)
class Session:
    """One training's connections; a loop knows no tracker, it only calls these.

    Attributes:
        device: where the networks live.
        seed: seed of weights, order and noise.
        checkpoints: where the state is kept.
        on_log: called with (images_seen, {name: value}) every `log_every_kimg`.
        on_sample: called with (images_seen, x_BCHW in [0, 1]) every `sample_every_kimg`.
    """

    device: torch.device
    seed: int
    checkpoints: Checkpoints
    on_log: Callable[[int, Mapping[str, float]], None]
    on_sample: Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Trained:
    """What a loop returns.

    Attributes:
        network: the averaged network, in evaluation mode.
        network_config: keyword arguments that build it again.
    """

    network: nn.Module
    network_config: dict[str, Any]


@dataclass
class Stopwatch:
    """Throughput since this process began to train."""

    images_at_start: int
    started: float = field(default_factory=time.perf_counter)

    def rate(self, images_seen: int) -> dict[str, float]:
        """Mean images per second, as a value to log."""
        seconds = max(1e-9, time.perf_counter() - self.started)
        return {"images_per_second": (images_seen - self.images_at_start) / seconds}


def step(optimizer: torch.optim.Optimizer, loss: Tensor, training: Training, images_seen: int, name: str) -> None:
    """One optimizer step at the scheduled learning rate; refuses a loss that isn't finite before it can do harm.

    Raises:
        TrainingError: if the loss is NaN or infinite, naming the loss and the position.
    """
    if not torch.isfinite(loss):
        raise TrainingError(
            f"{name} became {loss.item()} after {images_seen / 1000:.1f} kimg; the last checkpoint is untouched. "
            "Lower training.lr."
        )
    rate = learning_rate(training.lr, images_seen, round(training.kimg * 1000), round(training.warmup_kimg * 1000))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on its device, weights in channels_last (1.1 times as fast as the default layout, on CPU too)."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)


def adam(network: nn.Module, training: Training) -> torch.optim.Adam:
    """Adam over all weights; fused on CUDA, where it saves kernel launches."""
    on_cuda = next(network.parameters()).is_cuda
    return torch.optim.Adam(network.parameters(), lr=training.lr, betas=training.betas, fused=on_cuda)


def restore_state(parts: Mapping[str, Any], rng: torch.Generator, state: dict[str, Any] | None) -> int:
    """Load a checkpoint into networks and optimizers; returns the number of images already seen (0 without one)."""
    if state is None:
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    rng.set_state(state["rng"])
    return int(state["images_seen"])


def full_state(parts: Mapping[str, Any], rng: torch.Generator, images_seen: int) -> dict[str, Any]:
    """Everything that `restore_state` needs to go on bit by bit."""
    weights = {name: part.state_dict() for name, part in parts.items()}
    return {**weights, "rng": rng.get_state(), "images_seen": images_seen}
