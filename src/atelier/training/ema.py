"""Exponential moving average of weights: the copy that is evaluated and registered."""

from __future__ import annotations

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from atelier.params import Training


def averaged_copy(network: torch.nn.Module) -> torch.nn.Module:
    """A frozen copy that starts at the network's present weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: torch.nn.Module, network: torch.nn.Module, training: Training, images_seen: int) -> None:
    """Move `average` towards `network` so that a weight's share halves in `ema_halflife_kimg` thousand images.

    The half-life is capped at 5 % of the images seen, so that the random start is forgotten early on.
    Source: Karras et al. 2022, arXiv:2206.00364, training code (half-life with ramp-up ratio 0.05).
    """
    halflife_images = min(training.ema_halflife_kimg * 1000, max(1.0, 0.05 * images_seen))
    update = get_ema_multi_avg_fn(0.5 ** (training.batch_size / halflife_images))  # type: ignore[no-untyped-call]
    weights = list(zip(average.parameters(), network.parameters(), strict=True))
    # Running statistics of batch normalisation belong to the weights beside them, so they are averaged alike.
    buffers = list(zip(average.buffers(), network.buffers(), strict=True))
    floats = weights + [(kept, new) for kept, new in buffers if kept.is_floating_point()]
    update([kept for kept, _ in floats], [new for _, new in floats], None)
    for kept, new in buffers:
        if not kept.is_floating_point():
            kept.copy_(new)
