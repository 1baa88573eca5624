"""Exponential moving average of weights: the copy that is evaluated and registered."""

from __future__ import annotations

import copy

import torch


def averaged_copy(network: torch.nn.Module) -> torch.nn.Module:
    """A frozen copy that starts at the network's present weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_average(
    average: torch.nn.Module, network: torch.nn.Module, batch_size: int, images_seen: int, halflife_kimg: float
) -> None:
    """Move `average` towards `network` so that a weight's share halves in `halflife_kimg` thousand images.

    The half-life is capped at 5 % of the images seen, so that the random start is forgotten early on.
    Source: Karras et al. 2022, arXiv:2206.00364, training code (half-life with ramp-up ratio 0.05).
    """
    halflife_images = min(halflife_kimg * 1000, max(1.0, 0.05 * images_seen))
    keep = 0.5 ** (batch_size / halflife_images)
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)
    # Running statistics of batch normalisation belong to the weights beside them, so they are averaged alike.
    for kept_buffer, new_buffer in zip(average.buffers(), network.buffers(), strict=True):
        if kept_buffer.is_floating_point():
            kept_buffer.lerp_(new_buffer, 1 - keep)
        else:
            kept_buffer.copy_(new_buffer)
