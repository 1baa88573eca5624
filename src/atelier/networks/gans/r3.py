"""Residual blocks without normalisation: R3GAN (arXiv:2501.05441).

This file imports nothing of Atelier, nor of its neighbours: it is stored beside the weights of
every registered model and loaded by path. So these files have helpers in common; a test keeps them
equal.

Shape suffixes: B batch, Z latent, E latent and class, F features, C channels, H height, W width, h,
w smaller sides.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _feature_sizes(image_size: int) -> list[int]:
    """Sides of the feature maps, coarse to fine.

    The last is half the image, e.g. 28 -> [7, 14], 64 -> [8, 16, 32].
    """
    if image_size < 16 or image_size % 4:
        raise ValueError(f"image_size = {image_size} is not a multiple of 4 of at least 16.")
    sizes = [image_size // 2]
    while sizes[0] % 2 == 0 and sizes[0] > 8:
        sizes.insert(0, sizes[0] // 2)
    return sizes


class PlainResidualBlock(nn.Module):
    """1x1, grouped 3x3, 1x1 without normalisation; starts as the identity.

    Source: R3GAN, Huang et al. 2024, arXiv:2501.05441, section 3: twice as many maps inside, groups
    of 16 maps, and the initialisation of Fixup (Zhang et al. 2019, arXiv:1901.09321): the last
    convolution is zero, the others are scaled by num_blocks^(-1/(2m-2)) with m = 3 convolutions.
    """

    def __init__(self, num_maps: int, num_blocks: int) -> None:
        super().__init__()
        inner = 2 * num_maps
        self.expand = nn.Conv2d(num_maps, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=inner // math.gcd(inner, 16))
        self.shrink = nn.Conv2d(inner, num_maps, 1, bias=False)
        for conv in (self.expand, self.mix):
            nn.init.kaiming_normal_(conv.weight, a=0.2)
            conv.weight.data.mul_(num_blocks**-0.25)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(self.shrink.weight)

    def forward(self, maps_BFhw: Tensor) -> Tensor:
        """Maps plus what the block adds to them."""
        inner_BFhw = F.leaky_relu(self.mix(F.leaky_relu(self.expand(maps_BFhw), 0.2)), 0.2)
        added_BFhw: Tensor = self.shrink(inner_BFhw)
        return maps_BFhw + added_BFhw


class R3Generator(nn.Module):
    """Residual blocks without any normalisation; the last upsampling is sub-pixel.

    Source: R3GAN, Huang et al. 2024, arXiv:2501.05441, section 3, configuration E: a learnt basis
    of the coarsest maps, bilinear upsampling, grouped bottlenecks. The tanh is ours: images stay in
    [-1, 1].

    Args:
        channels: image channels.
        image_size: side of the square images, a multiple of 4, >= 16.
        num_classes: number of classes; 1 is unconditional.
        latent_dim: length of the latent vector.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as
            many below.
        blocks: residual blocks at each size, 2 in the paper.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        num_classes: int,
        latent_dim: int,
        width: int,
        blocks: int,
    ) -> None:
        super().__init__()
        sizes = _feature_sizes(image_size)
        widths = [width * min(4, 2**level) for level in reversed(range(len(sizes)))]
        self.latent_dim = latent_dim
        self.embed = nn.Embedding(num_classes, latent_dim)
        self.project = nn.Linear(2 * latent_dim, widths[0], bias=False)
        self.basis_Fhw = nn.Parameter(torch.randn(widths[0], sizes[0], sizes[0]))
        num_blocks = blocks * len(sizes)
        self.stages = nn.ModuleList(
            nn.Sequential(*(PlainResidualBlock(maps, num_blocks) for _ in range(blocks)))
            for maps in widths
        )
        pairs = itertools.pairwise(widths)
        self.changes = nn.ModuleList(
            nn.Conv2d(wider, narrower, 1, bias=False) for wider, narrower in pairs
        )
        self.to_image = nn.Conv2d(widths[-1], 4 * channels, 3, padding=1)
        for layer in (self.project, *self.changes, self.to_image):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")

    def forward(self, z_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Images of the given classes.

        Args:
            z_BZ: latents, standard normal.
            labels_B: classes, int64.

        Returns:
            x_BCHW: images in [-1, 1].
        """
        code_BE = torch.cat((z_BZ, self.embed(labels_B)), dim=1)
        maps_BFhw = self.project(code_BE)[:, :, None, None] * self.basis_Fhw
        maps_BFhw = self.stages[0](maps_BFhw)
        for change, stage in zip(self.changes, self.stages[1:], strict=True):
            # The 1x1 convolution and the interpolation commute; in this order it costs a quarter.
            maps_BFhw = F.interpolate(
                change(maps_BFhw), scale_factor=2, mode="bilinear", align_corners=False
            )
            maps_BFhw = stage(maps_BFhw)
        return torch.tanh(F.pixel_shuffle(self.to_image(maps_BFhw), 2))


class ProjectionHead(nn.Module):
    """A linear score of the features, plus one for their class.

    Source: Miyato & Koyama 2018, arXiv:1802.05637, eq. 3.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.realness = nn.Linear(num_features, 1)
        self.class_direction = nn.Embedding(num_classes, num_features)
        nn.init.normal_(
            self.class_direction.weight, std=num_features**-0.5
        )  # scores of unit order at the start

    def forward(self, features_BF: Tensor, labels_B: Tensor) -> Tensor:
        """logits_B."""
        logits_B: Tensor = self.realness(features_BF).squeeze(1) + (
            self.class_direction(labels_B) * features_BF
        ).sum(1)
        return logits_B


class R3Discriminator(nn.Module):
    """Residual blocks without normalisation, the `r3` generator's mirror image; a projection head.

    Source: R3GAN, Huang et al. 2024, arXiv:2501.05441, section 3. Bilinear downsampling by 2 is the
    mean of 2x2 pixels; a learnt basis reads the coarsest maps.

    Args:
        channels: image channels.
        image_size: side of the square images, a multiple of 4, >= 16.
        num_classes: number of classes; 1 is unconditional.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as
            many below.
        blocks: residual blocks at each size, 2 in the paper.
    """

    def __init__(
        self, channels: int, image_size: int, num_classes: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        sizes = _feature_sizes(image_size)[::-1]
        widths = [width * min(4, 2**level) for level in range(len(sizes))]
        num_blocks = blocks * len(sizes)
        self.from_image = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(PlainResidualBlock(maps, num_blocks) for _ in range(blocks)))
            for maps in widths
        )
        pairs = itertools.pairwise(widths)
        self.changes = nn.ModuleList(
            nn.Conv2d(narrower, wider, 1, bias=False) for narrower, wider in pairs
        )
        self.basis_Fhw = nn.Parameter(torch.randn(widths[-1], sizes[-1], sizes[-1]) / sizes[-1])
        self.head = ProjectionHead(widths[-1], num_classes)
        for layer in (self.from_image, *self.changes):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")

    def forward(self, x_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        """How real each image looks as an image of its class.

        Args:
            x_BCHW: images in [-1, 1].
            labels_B: classes, int64.

        Returns:
            logits_B: unbounded, higher is more real.
        """
        maps_BFhw = self.stages[0](self.from_image(F.pixel_unshuffle(x_BCHW, 2)))
        for change, stage in zip(self.changes, self.stages[1:], strict=True):
            maps_BFhw = stage(change(F.avg_pool2d(maps_BFhw, 2)))
        logits_B: Tensor = self.head((maps_BFhw * self.basis_Fhw).sum(dim=(2, 3)), labels_B)
        return logits_B
