"""Residual blocks, batch and spectral normalisation: the class of BigGAN (arXiv:1809.11096).

This file imports nothing of Atelier, nor of its neighbours: it is stored beside the weights of
every registered model and loaded by path. So these files have helpers in common; a test keeps them
equal.

Shape suffixes: B batch, Z latent, E latent and class, F features, C channels, H height, W width, h,
w smaller sides, D depth of keys or values, N positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


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


def _conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


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


class SelfAttention(nn.Module):
    """Every position looks at all others; starts as the identity.

    Source: SAGAN, Zhang et al. 2018, arXiv:1805.08318, section 3 (keys of C/8 maps, values of C/2,
    gamma = 0 at first).
    """

    def __init__(self, num_maps: int) -> None:
        super().__init__()
        self.sizes = [max(1, num_maps // 8), max(1, num_maps // 8), max(1, num_maps // 2)]
        self.to_qkv = nn.Conv2d(num_maps, sum(self.sizes), 1, bias=False)
        self.to_maps = nn.Conv2d(self.sizes[2], num_maps, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps_BFhw: Tensor) -> Tensor:
        """Maps plus gamma times what each position gathered."""
        query_BDN, key_BDN, value_BDN = self.to_qkv(maps_BFhw).flatten(2).split(self.sizes, dim=1)
        share_BNN = (query_BDN.transpose(1, 2) @ key_BDN).softmax(dim=2)
        gathered_BDN = value_BDN @ share_BNN.transpose(1, 2)
        gathered_BFhw = self.to_maps(gathered_BDN.unflatten(2, maps_BFhw.shape[2:]))
        return torch.addcmul(maps_BFhw, gathered_BFhw, self.gamma)


class _UpBlock(nn.Module):
    """norm, ReLU, convolution, twice, beside a 1x1 convolution.

    Either doubles both sides or keeps them.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_classes: int, doubles: bool
    ) -> None:
        super().__init__()
        self.doubles = doubles
        self.norms = nn.ModuleList(
            ConditionalBatchNorm(maps, num_classes) for maps in (in_channels, out_channels)
        )
        # BigGAN's nearest neighbours and 3x3 are a special case of this 4x4, which costs 4/9 of
        # them.
        conv = (
            _double(in_channels, out_channels) if doubles else _conv3x3(in_channels, out_channels)
        )
        self.convs = nn.ModuleList([conv, _conv3x3(out_channels, out_channels)])
        self.skip = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, maps_BFhw: Tensor, labels_B: Tensor) -> Tensor:
        skip_BFhw: Tensor = self.skip(maps_BFhw)
        if self.doubles:
            skip_BFhw = F.interpolate(skip_BFhw, scale_factor=2, mode="nearest")
        for norm, conv in zip(self.norms, self.convs, strict=True):
            maps_BFhw = conv(F.relu(norm(maps_BFhw, labels_B)))
        return maps_BFhw + skip_BFhw


class ResnetGenerator(nn.Module):
    """Residual blocks with class-conditional batch normalisation (BigGAN class).

    The last upsampling is sub-pixel.

    The class acts through the normalisation alone. At evaluation that uses running statistics, so
    an image depends on its own latent and label alone.

    Source: BigGAN, Brock et al. 2019, arXiv:1809.11096, appendix B, without the latent's way into
    every block.

    Args:
        channels: image channels.
        image_size: side of the square images, a multiple of 4, >= 16.
        num_classes: number of classes; 1 is unconditional.
        latent_dim: length of the latent vector.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as
            many below.
        blocks: residual blocks at each size.
        attention: self-attention at the second size, 14 or 16 pixels for common sizes (the first if
            there is one).
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        num_classes: int,
        latent_dim: int,
        width: int,
        blocks: int,
        attention: bool,
    ) -> None:
        super().__init__()
        sizes = _feature_sizes(image_size)
        widths = [width * min(4, 2**level) for level in reversed(range(len(sizes)))]
        self.latent_dim = latent_dim
        self.base_size = sizes[0]
        self.project = nn.Linear(latent_dim, widths[0] * sizes[0] ** 2)
        layers: list[nn.Module] = []
        for level, maps in enumerate(widths):
            before = widths[max(0, level - 1)]
            layers += [_UpBlock(before, maps, num_classes, doubles=level > 0)]
            layers += [_UpBlock(maps, maps, num_classes, doubles=False) for _ in range(blocks - 1)]
            if attention and level == min(1, len(sizes) - 1):
                layers += [SelfAttention(maps)]
        self.layers = nn.ModuleList(layers)
        self.last_norm = nn.BatchNorm2d(widths[-1])
        self.to_image = nn.Conv2d(widths[-1], 4 * channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                nn.init.orthogonal_(module.weight)  # BigGAN, appendix C.1

    def forward(self, z_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Images of the given classes.

        Args:
            z_BZ: latents, standard normal.
            labels_B: classes, int64.

        Returns:
            x_BCHW: images in [-1, 1].
        """
        maps_BFhw = self.project(z_BZ).unflatten(1, (-1, self.base_size, self.base_size))
        for layer in self.layers:
            maps_BFhw = (
                layer(maps_BFhw, labels_B) if isinstance(layer, _UpBlock) else layer(maps_BFhw)
            )
        maps_BFhw = F.relu(self.last_norm(maps_BFhw))
        return torch.tanh(F.pixel_shuffle(self.to_image(maps_BFhw), 2))


class _DownBlock(nn.Module):
    """ReLU, convolution, twice, beside a 1x1 convolution.

    Either halves both sides or keeps them.
    """

    def __init__(self, in_channels: int, out_channels: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        # BigGAN's 3x3 and average pooling are a special case of this 4x4, which costs 4/9 of them.
        kernel_size, stride = (4, 2) if halves else (3, 1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size, stride, padding=1)
        self.skip = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, maps_BFhw: Tensor) -> Tensor:
        inner_BFhw: Tensor = self.conv2(F.relu(self.conv1(F.relu(maps_BFhw))))
        skip_BFhw: Tensor = self.skip(F.avg_pool2d(maps_BFhw, 2) if self.halves else maps_BFhw)
        return inner_BFhw + skip_BFhw


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


class ResnetDiscriminator(nn.Module):
    """Residual blocks under spectral normalisation and a projection head (BigGAN class).

    The power iteration of the normalisation takes one step at each forward pass in training mode.

    Source: BigGAN, Brock et al. 2019, arXiv:1809.11096, appendix B; Miyato et al. 2018,
    arXiv:1802.05957. The image enters by pixel-unshuffle, so that no convolution runs at full
    resolution.

    Args:
        channels: image channels.
        image_size: side of the square images, a multiple of 4, >= 16.
        num_classes: number of classes; 1 is unconditional.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as
            many below.
        blocks: residual blocks at each size.
        attention: self-attention at the last size but one, as in the generator.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        num_classes: int,
        width: int,
        blocks: int,
        attention: bool,
    ) -> None:
        super().__init__()
        sizes = _feature_sizes(image_size)[::-1]
        widths = [width * min(4, 2**level) for level in range(len(sizes))]
        layers: list[nn.Module] = [nn.Conv2d(4 * channels, width, 3, padding=1)]
        for level, maps in enumerate(widths):
            if attention and level == max(0, len(sizes) - 2):
                layers += [SelfAttention(maps)]
            last = level == len(sizes) - 1
            layers += [_DownBlock(maps, maps, halves=False) for _ in range(blocks - 1)]
            layers += [_DownBlock(maps, maps if last else widths[level + 1], halves=not last)]
        self.body = nn.Sequential(*layers)
        self.head = ProjectionHead(widths[-1], num_classes)
        for module in list(self.modules()):
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                nn.init.orthogonal_(
                    module.weight
                )  # BigGAN, appendix C.1: no direction is lost to the largest one
                spectral_norm(module)

    def forward(self, x_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        """How real each image looks as an image of its class.

        Args:
            x_BCHW: images in [-1, 1].
            labels_B: classes, int64.

        Returns:
            logits_B: unbounded, higher is more real.
        """
        maps_BFhw = F.relu(self.body(F.pixel_unshuffle(x_BCHW, 2)))
        # BigGAN sums; divided by the side, pooling keeps a change of the maps from growing, as the
        # layers before do.
        features_BF = maps_BFhw.sum(dim=(2, 3)) / maps_BFhw.shape[-1]
        logits_B: Tensor = self.head(features_BF, labels_B)
        return logits_B
