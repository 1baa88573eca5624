"""What the GAN's loop does for `progressive` networks; nothing for all others.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atelier.networks.gans.progressive import ProgressiveDiscriminator, ProgressiveGenerator
from atelier.training.schedules import growth_stage


def grow(G: nn.Module, others: Iterable[nn.Module], progress: float) -> None:
    """Set the stage of a progressive generator and of those beside it: discriminator and average.

    Args:
        G: the generator.
        others: what has to have its stage.
        progress: the share of the training's images that were seen.
    """
    if isinstance(G, ProgressiveGenerator):
        G.stage = growth_stage(progress, G.growth, G.doublings)
        for network in others:
            assert isinstance(
                network, (ProgressiveGenerator, ProgressiveDiscriminator)
            )  # params.checks
            network.stage = G.stage


def faded(G: nn.Module, real_BCHW: Tensor) -> Tensor:
    """Real images with as much of the next resolution as the generator's have at its stage.

    What is finer than that, the discriminator averages away.
    Source: Karras et al. 2018, arXiv:1710.10196, figure 2.
    """
    if not isinstance(G, ProgressiveGenerator) or G.stage.is_integer():
        return real_BCHW
    reached = math.floor(G.stage)
    cell = 2 ** (G.doublings - reached)  # side of what is one pixel at the lower resolution
    coarse_BCHW = F.interpolate(F.avg_pool2d(real_BCHW, cell), scale_factor=cell, mode="nearest")
    return torch.lerp(coarse_BCHW, real_BCHW, G.stage - reached)
