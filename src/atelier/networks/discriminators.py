"""Class-conditional discriminators (one build table: `DISCRIMINATORS`).

This file imports nothing of Atelier: its source is stored beside the weights of every registered model, loaded by path.

Shape suffixes: B batch, C channels, H height, W width, F features, h, w smaller sides.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution with He initialisation: there is no normalisation to correct the scale of the activations."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=0.2, nonlinearity="leaky_relu")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class DcganDiscriminator(nn.Module):
    """Strided convolutions and a projection head; no batch normalisation, so that gradient penalties are per image.

    Source: DCGAN (arXiv:1511.06434) for the body, projection discriminator (arXiv:1802.05637, eq. 3) for the condition.
    The image enters by pixel-unshuffle, so that no convolution runs at full resolution.

    Args:
        channels: image channels.
        image_size: side of the square images, a multiple of 4, >= 16.
        num_classes: number of classes.
        width: feature maps at half resolution; twice as many at a quarter, at most four times as many below.
    """

    def __init__(self, channels: int, image_size: int, num_classes: int, width: int) -> None:
        super().__init__()
        if image_size < 16 or image_size % 4:
            raise ValueError(f"image_size = {image_size} is not a multiple of 4 of at least 16.")
        layers: list[nn.Module] = [_conv(4 * channels, width), nn.LeakyReLU(0.2)]
        size, maps = image_size // 2, width
        while size > 4:
            wider = min(2 * maps, 4 * width)
            layers += [_conv(maps, wider, stride=2), nn.LeakyReLU(0.2)]
            size, maps = (size + 1) // 2, wider  # 7 becomes 4
        self.body = nn.Sequential(*layers)
        num_features = 4 * width
        self.to_features = nn.Linear(maps * size**2, num_features)
        self.realness = nn.Linear(num_features, 1)
        self.class_direction = nn.Embedding(num_classes, num_features)
        nn.init.normal_(self.class_direction.weight, std=num_features**-0.5)  # scores of unit order at the start

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
        logits_B: Tensor = self.realness(features_BF).squeeze(1) + (self.class_direction(labels_B) * features_BF).sum(1)
        return logits_B


DISCRIMINATORS: dict[str, type[nn.Module]] = {"dcgan": DcganDiscriminator}


def build_discriminator(name: str, **kwargs: Any) -> nn.Module:
    """The discriminator `name` of `DISCRIMINATORS`, with fresh weights from torch's global generator."""
    return DISCRIMINATORS[name](**kwargs)
