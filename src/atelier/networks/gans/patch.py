"""A discriminator that judges every patch on its own (PatchGAN, arXiv:1611.07004, 3.2.2).

This file imports nothing of Atelier.

Shape suffixes: B batch, C channels, F features, H height, W width, h, w smaller sides.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def _conv3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """3x3 convolution that can't stretch its input by more than a constant.

    Spectral normalisation (arXiv:1802.05957).

    It takes the place of the paper's batch normalisation, under which a logit would depend on the
    other images.
    """
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=0.2, nonlinearity="leaky_relu")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return spectral_norm(conv)


class PatchDiscriminator(nn.Module):
    """Logits for overlapping square patches of 2^(layers + 3) + 2 pixels a side: 18, 34, 66, ...

    Images of any height and width; where a side is odd its last row or column is repeated. The
    image enters by pixel-unshuffle, so that no convolution runs at full resolution.

    Source: pix2pix, Isola et al. 2017, arXiv:1611.07004, section 3.2.2; there patches of 70 pixels
    do best.

    Args:
        channels: of what it sees: the image's own, and those of what the image is conditioned on.
        width: feature maps at half resolution; twice as many at each lower one, at most four times
            as many.
        layers: halvings of the resolution after the first.
    """

    def __init__(self, channels: int, width: int, layers: int) -> None:
        super().__init__()
        body: list[nn.Module] = [_conv3(4 * channels, width), nn.LeakyReLU(0.2)]
        maps = width
        for _ in range(layers):
            wider = min(2 * maps, 4 * width)
            body += [_conv3(maps, wider, stride=2), nn.LeakyReLU(0.2)]
            maps = wider
        self.body = nn.Sequential(*body, _conv3(maps, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """How real each patch looks.

        Args:
            x_BCHW: images in [-1, 1].

        Returns:
            logits_B1hw: unbounded, higher is more real; one for each 2^(layers + 1) pixels, rounded
                up.
        """
        height, width = x_BCHW.shape[-2:]
        x_BCHW = F.pad(x_BCHW, (0, width % 2, 0, height % 2), mode="replicate")
        logits_B1hw: Tensor = self.body(F.pixel_unshuffle(x_BCHW, 2))
        return logits_B1hw
