"""Exponential moving average of weights: the copy that is evaluated and registered."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from atelier.params import Training


def averaged_copy(network: torch.nn.Module) -> torch.nn.Module:
    """A frozen copy that starts at the network's present weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def averaging(
    average: torch.nn.Module, network: torch.nn.Module, training: Training
) -> Callable[[int], None]:
    """What moves `average` towards `network`: a weight's share halves in `ema_halflife_kimg`.

    The half-life is capped at 5 % of the images seen, so that the random start is forgotten early
    on. The weights are looked up once: walking through the networks at each step costs 0.3 % of the
    time of a small restorer.

    Returns:
        A function of the number of images seen.

    Source: Karras et al. 2022, arXiv:2206.00364, training code (half-life with ramp-up ratio 0.05).
    """
    weights = list(zip(average.parameters(), network.parameters(), strict=True))
    # Running statistics of batch normalisation belong to the weights beside them, so they are
    # averaged alike.
    buffers = list(zip(average.buffers(), network.buffers(), strict=True))
    floats = weights + [(kept, new) for kept, new in buffers if kept.is_floating_point()]
    counters = [(kept, new) for kept, new in buffers if not kept.is_floating_point()]
    all_kept, all_new = [kept for kept, _ in floats], [new for _, new in floats]

    @torch.no_grad()
    def update(images_seen: int) -> None:
        halflife_images = min(training.ema_halflife_kimg * 1000, max(1.0, 0.05 * images_seen))
        decay = 0.5 ** (training.batch_size / halflife_images)
        get_ema_multi_avg_fn(decay)(all_kept, all_new, None)  # type: ignore[no-untyped-call]
        for kept, new in counters:
            kept.copy_(new)

    return update
