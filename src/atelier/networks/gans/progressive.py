"""Progressive growing: from 8x8 pixels, one doubling after another fades in (arXiv:1710.10196).

This file imports nothing of Atelier, nor of its neighbours: it is stored beside the weights of
every registered model and loaded by path. So these files have helpers in common; a test keeps them
equal.

How far both have grown is their attribute `stage`: 0 is the lowest resolution, 1.5 is half of the
way from the second to the third, and the number of doublings, which a new network starts with, is
all of it. It is no part of the weights: the training sets it, and a network that was loaded is
complete. Images have their full size at every stage.

Left out of the paper: the standard deviation over the minibatch, since no logit may depend on other
images. And the equalised learning rate: Adam's steps don't grow with the weights, so weights of
standard deviation 1 want ten times the rate of the other networks here. With that it was 6 % slower
and no better: a KID of 0.091 against 0.065 (Fashion-MNIST at 32 pixels, width 16, 80 kimg, rates of
1e-2 and 1e-3, one seed).

Shape suffixes: B batch, Z latent, E latent and class, F features, C channels, H height, W width, h,
w smaller sides.
"""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the coarsest maps, as in the paper; of sub-pixels, so that the smallest image has twice the
# side.
BASE_SIZE = 4
Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _num_doublings(image_size: int) -> int:
    """From the smallest image to the largest, e.g. 2 for 32 pixels: 8 -> 16 -> 32."""
    doublings = round(math.log2(image_size / (2 * BASE_SIZE)))
    if doublings < 1 or image_size != 2 * BASE_SIZE * 2**doublings:
        raise ValueError(f"image_size = {image_size} is not a power of two of at least 16.")
    return doublings


def _widths(width: int, doublings: int) -> list[int]:
    """Feature maps, coarse to fine."""
    return [width * min(4, 2**level) for level in reversed(range(doublings + 1))]


def _split(stage: float) -> tuple[int, float]:
    """The resolution that has been reached, and the share of the next one."""
    return math.floor(stage), stage - math.floor(stage)


def _enlarged(x_BCHW: Tensor, factor: int) -> Tensor:
    return x_BCHW if factor == 1 else F.interpolate(x_BCHW, scale_factor=factor, mode="nearest")


def _reduced(x_BCHW: Tensor, factor: int) -> Tensor:
    return x_BCHW if factor == 1 else F.avg_pool2d(x_BCHW, factor)


def _initialised(layer: Layer, fan_in: int) -> Layer:
    """He's initialisation for the leaky ReLU that follows.

    `fan_in` values add up to each output.
    """
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (1 + 0.2**2) / fan_in))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return _initialised(nn.Conv2d(in_channels, out_channels, 3, padding=1), 9 * in_channels)


def _doubling(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """4x4 with stride 2: the paper's nearest neighbours and 3x3 as one layer of 4/9 of the cost.

    It starts as exactly these two: kernels that are drawn for each place on its own leave a
    checkerboard.
    """
    double = _initialised(
        nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1), 9 * in_channels
    )
    kernel = double.weight.detach()[:, :, :3, :3]
    places = [F.pad(kernel, (left, 1 - left, top, 1 - top)) for left in (0, 1) for top in (0, 1)]
    double.weight.data = torch.stack(places).sum(dim=0)
    return double


def _to_image(in_channels: int, channels: int) -> nn.Conv2d:
    """3x3 for four sub-pixels, which start as equal.

    Source: Aitken et al. 2017, arXiv:1707.02937, section 2.2: independent ones leave a
    checkerboard.
    """
    conv = nn.Conv2d(in_channels, 4 * channels, 3, padding=1)
    conv.weight.data = conv.weight.detach()[::4].repeat_interleave(4, dim=0)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class PixelNorm(nn.Module):
    """Divides by the root of the mean square over the features, at each pixel.

    Source: Karras et al. 2018, arXiv:1710.10196, section 4.2.
    """

    def forward(self, maps_BFhw: Tensor) -> Tensor:
        """Maps of mean square 1; a latent is taken as one pixel."""
        return maps_BFhw * (maps_BFhw.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class _UpBlock(nn.Sequential):
    """Doubles both sides but for the first, then convolves."""

    def __init__(self, in_channels: int, out_channels: int, doubles: bool) -> None:
        layers: list[nn.Module] = []
        if doubles:
            layers += [_doubling(in_channels, out_channels), nn.LeakyReLU(0.2), PixelNorm()]
        super().__init__(
            *layers, _conv3x3(out_channels, out_channels), nn.LeakyReLU(0.2), PixelNorm()
        )


class ProgressiveGenerator(nn.Module):
    """Plain convolutions under pixelwise normalisation.

    The last upsampling at each stage is sub-pixel.

    Source: Karras et al. 2018, arXiv:1710.10196, table 2 and figure 2. The class enters beside the
    latent, tanh and sub-pixels are ours.

    Attributes:
        stage: see the top of this file.
        doublings: the stage at which it is complete.

    Args:
        channels: image channels.
        image_size: side of the square images, a power of two, >= 16.
        num_classes: number of classes; 1 is unconditional.
        latent_dim: length of the latent vector.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as
            many below.
        growth: share of a training in which it grows; kept for the training, as `latent_dim` is.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        num_classes: int,
        latent_dim: int,
        width: int,
        growth: float,
    ) -> None:
        super().__init__()
        self.doublings = _num_doublings(image_size)
        self.stage = float(self.doublings)
        self.image_size, self.latent_dim, self.growth = image_size, latent_dim, growth
        widths = _widths(width, self.doublings)
        self.embed = nn.Embedding(num_classes, latent_dim)
        self.norm = PixelNorm()
        self.project = _initialised(
            nn.Linear(2 * latent_dim, widths[0] * BASE_SIZE**2), 2 * latent_dim
        )
        pairs = zip([widths[0], *widths], widths, strict=False)
        self.blocks = nn.ModuleList(
            _UpBlock(*pair, doubles=level > 0) for level, pair in enumerate(pairs)
        )
        self.to_images = nn.ModuleList(_to_image(maps, channels) for maps in widths)

    def forward(self, z_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Images of the given classes.

        Args:
            z_BZ: latents, standard normal.
            labels_B: classes, int64.

        Returns:
            x_BCHW: images in [-1, 1] of full size, enlarged from the resolution of the stage.
        """
        reached, share = _split(self.stage)
        code_BE = torch.cat((self.norm(z_BZ), self.norm(self.embed(labels_B))), dim=1)
        maps_BFhw = self.project(code_BE).unflatten(1, (-1, BASE_SIZE, BASE_SIZE))
        maps_BFhw = self.norm(F.leaky_relu(maps_BFhw, 0.2))
        for block in self.blocks[: reached + 1]:
            maps_BFhw = block(maps_BFhw)
        x_BCHW = self._image(maps_BFhw, reached)
        if share > 0:
            finer_BCHW = self._image(self.blocks[reached + 1](maps_BFhw), reached + 1)
            x_BCHW = torch.lerp(_enlarged(x_BCHW, 2), finer_BCHW, share)
        return _enlarged(x_BCHW, self.image_size // x_BCHW.shape[-1])

    def _image(self, maps_BFhw: Tensor, level: int) -> Tensor:
        return torch.tanh(F.pixel_shuffle(self.to_images[level](maps_BFhw), 2))


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


class _DownBlock(nn.Sequential):
    """Convolves, then halves both sides."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        # The paper's 3x3 and average pooling are a special case of this 4x4, which costs 4/9 of
        # them.
        halve = _initialised(
            nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1), 16 * in_channels
        )
        super().__init__(
            _conv3x3(in_channels, in_channels), nn.LeakyReLU(0.2), halve, nn.LeakyReLU(0.2)
        )


class ProgressiveDiscriminator(nn.Module):
    """The mirror image of the `progressive` generator and a projection head, unnormalised.

    Below the last stage it sees the mean of the pixels that are one at its resolution. A gradient
    penalty is taken at the full image nevertheless: there the slope of a mean over n pixels has 1/n
    of the square, which is how gamma goes with the number of pixels where it is chosen for each
    resolution (Karras et al. 2020, arXiv:2006.06676, appendix C).

    Source: Karras et al. 2018, arXiv:1710.10196, table 2 and figure 2.

    Attributes:
        stage: see the top of this file.

    Args:
        channels: image channels.
        image_size: side of the square images, a power of two, >= 16.
        num_classes: number of classes; 1 is unconditional.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as
            many below.
    """

    def __init__(self, channels: int, image_size: int, num_classes: int, width: int) -> None:
        super().__init__()
        doublings = _num_doublings(image_size)
        self.stage = float(doublings)
        self.image_size = image_size
        widths = _widths(width, doublings)
        self.from_images = nn.ModuleList(_conv3x3(4 * channels, maps) for maps in widths)
        pairs = zip(widths[1:], widths, strict=False)
        self.blocks = nn.ModuleList(
            _DownBlock(*pair) for pair in pairs
        )  # blocks[level] goes from level + 1 to level
        num_inputs = widths[0] * BASE_SIZE**2
        self.last = nn.Sequential(
            _conv3x3(widths[0], widths[0]),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            _initialised(nn.Linear(num_inputs, widths[0]), num_inputs),
            nn.LeakyReLU(0.2),
        )
        self.head = ProjectionHead(widths[0], num_classes)

    def forward(self, x_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        """How real each image looks as an image of its class, at the resolution of the stage.

        Args:
            x_BCHW: images in [-1, 1] of full size.
            labels_B: classes, int64.

        Returns:
            logits_B: unbounded, higher is more real.
        """
        reached, share = _split(self.stage)
        maps_BFhw = self._maps(x_BCHW, reached)
        if share > 0:
            finer_BFhw = self.blocks[reached](self._maps(x_BCHW, reached + 1))
            maps_BFhw = torch.lerp(maps_BFhw, finer_BFhw, share)
        for level in reversed(range(reached)):
            maps_BFhw = self.blocks[level](maps_BFhw)
        logits_B: Tensor = self.head(self.last(maps_BFhw), labels_B)
        return logits_B

    def _maps(self, x_BCHW: Tensor, level: int) -> Tensor:
        x_BCHW = _reduced(x_BCHW, self.image_size // (2 * BASE_SIZE * 2**level))
        return F.leaky_relu(self.from_images[level](F.pixel_unshuffle(x_BCHW, 2)), 0.2)
