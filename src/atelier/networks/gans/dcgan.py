"""DCGAN: plain convolutions (arXiv:1511.06434).

This file imports nothing of Atelier, nor of its neighbours: it is stored beside the weights of
every registered model and loaded by path. So these files have helpers in common; a test keeps them
equal.

Shape suffixes: B batch, Z latent, E latent and class, F features, C channels, H height, W width, h,
w smaller sides.
"""

import itertools

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


def _double(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Doubles both sides; kernel 4 with stride 2 overlaps evenly and leaves no checkerboard."""
    return nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain and bias depend on the class.

    Source: Dumoulin et al. 2017, arXiv:1610.07629, with batch instead of instance statistics as in
    BigGAN.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_features, affine=False)
        self.gain = nn.Embedding(num_classes, num_features)
        self.bias = nn.Embedding(num_classes, num_features)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, maps_BFhw: Tensor, labels_B: Tensor) -> Tensor:
        """Normalised maps, scaled and shifted by the class."""
        gain_BF11 = self.gain(labels_B)[:, :, None, None]
        bias_BF11 = self.bias(labels_B)[:, :, None, None]
        return torch.addcmul(bias_BF11, self.norm(maps_BFhw), gain_BF11)


class DcganGenerator(nn.Module):
    """Convolutional generator with class-conditional normalisation.

    The last upsampling is sub-pixel.

    At evaluation the normalisation uses running statistics, so an image depends on its own latent
    and label alone.

    Source: DCGAN (arXiv:1511.06434); sub-pixel output (arXiv:1609.05158): no convolution runs at
    full resolution.

    Args:
        channels: image channels.
        image_size: side of the square images, a multiple of 4, >= 16.
        num_classes: number of classes.
        latent_dim: length of the latent vector.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as
            many below.
    """

    def __init__(
        self, channels: int, image_size: int, num_classes: int, latent_dim: int, width: int
    ) -> None:
        super().__init__()
        sizes = _feature_sizes(image_size)
        widths = [width * min(4, 2**level) for level in reversed(range(len(sizes)))]
        self.latent_dim = latent_dim
        self.base_size = sizes[0]
        self.embed = nn.Embedding(num_classes, latent_dim)
        self.project = nn.Linear(2 * latent_dim, widths[0] * sizes[0] ** 2)
        self.first_norm = ConditionalBatchNorm(widths[0], num_classes)
        convs: list[nn.Module] = [nn.Conv2d(widths[0], widths[0], 3, padding=1, bias=False)]
        convs += [_double(wider, narrower) for wider, narrower in itertools.pairwise(widths)]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(
            ConditionalBatchNorm(num_maps, num_classes) for num_maps in widths
        )
        self.to_image = nn.Conv2d(widths[-1], 4 * channels, 3, padding=1)

    def forward(self, z_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Images of the given classes.

        Args:
            z_BZ: latents, standard normal.
            labels_B: classes, int64.

        Returns:
            x_BCHW: images in [-1, 1].
        """
        code_BE = torch.cat((z_BZ, self.embed(labels_B)), dim=1)
        maps_BFhw = self.project(code_BE).unflatten(1, (-1, self.base_size, self.base_size))
        maps_BFhw = F.relu(self.first_norm(maps_BFhw, labels_B))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            maps_BFhw = F.relu(norm(conv(maps_BFhw), labels_B))
        return torch.tanh(F.pixel_shuffle(self.to_image(maps_BFhw), 2))


def _he_conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution with He initialisation.

    There is no normalisation to correct the scale of the activations.
    """
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=0.2, nonlinearity="leaky_relu")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class DcganDiscriminator(nn.Module):
    """Strided convolutions and a projection head.

    No batch normalisation, so that gradient penalties are per image.

    Source: DCGAN (arXiv:1511.06434) for the body, projection discriminator (arXiv:1802.05637, eq.
    3) for the condition. The image enters by pixel-unshuffle, so that no convolution runs at full
    resolution.

    Args:
        channels: image channels.
        image_size: side of the square images, a multiple of 4, >= 16.
        num_classes: number of classes.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as
            many below.
    """

    def __init__(self, channels: int, image_size: int, num_classes: int, width: int) -> None:
        super().__init__()
        if image_size < 16 or image_size % 4:
            raise ValueError(f"image_size = {image_size} is not a multiple of 4 of at least 16.")
        layers: list[nn.Module] = [_he_conv(4 * channels, width), nn.LeakyReLU(0.2)]
        size, maps = image_size // 2, width
        while size > 4:
            wider = min(2 * maps, 4 * width)
            layers += [_he_conv(maps, wider, stride=2), nn.LeakyReLU(0.2)]
            size, maps = (size + 1) // 2, wider  # 7 becomes 4
        self.body = nn.Sequential(*layers)
        num_features = 4 * width
        self.to_features = nn.Linear(maps * size**2, num_features)
        self.realness = nn.Linear(num_features, 1)
        self.class_direction = nn.Embedding(num_classes, num_features)
        nn.init.normal_(
            self.class_direction.weight, std=num_features**-0.5
        )  # scores of unit order at the start

    def forward(self, x_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        """How real each image looks as an image of its class.

        Args:
            x_BCHW: images in [-1, 1].
            labels_B: classes, int64.

        Returns:
            logits_B: unbounded, higher is more real.
        """
        maps_BFhw = self.body(F.pixel_unshuffle(x_BCHW, 2))
        features_BF = F.leaky_relu(self.to_features(maps_BFhw.flatten(1)), 0.2)
        logits_B: Tensor = self.realness(features_BF).squeeze(1) + (
            self.class_direction(labels_B) * features_BF
        ).sum(1)
        return logits_B
