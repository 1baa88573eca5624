"""Restorers of residual blocks at several resolutions (`unet`, `nafnet`).

Every block starts as the identity: its last weights are zero (as in Fixup, arXiv:1901.09321), which
makes depth harmless without normalisation over a batch.

This file imports nothing of Atelier: its source is stored beside the weights of every registered
model, loaded by path. So all restorers' files have the same helpers; a test keeps them equal.

Shape suffixes: B batch, C channels, H height, W width, F feature maps, h, w sides at a lower
resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _pad_to_multiple(x_BCHW: Tensor, multiple: int) -> Tensor:
    """Replicates the last row and column until both sides are multiples of `multiple`."""
    height, width = x_BCHW.shape[-2:]
    return F.pad(x_BCHW, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _upsample(y_BCHW: Tensor, upscale: int) -> Tensor:
    if upscale == 1:
        return y_BCHW
    return F.interpolate(y_BCHW, scale_factor=float(upscale), mode="bicubic", align_corners=False)


def _estimate_sigma(y_BCHW: Tensor) -> Tensor:
    """sigma_B, standard deviation of white noise.

    Of second differences, where pictures are near zero, the median.

    Plain parts of a picture (a white margin, the bars of a film) tell nothing of the noise in the
    others and don't count; of a picture that is nothing but plain it is 0.

    Source: Donoho and Johnstone 1994, doi:10.1093/biomet/81.3.425, section 4.2; here a Haar wavelet
    at every position.
    """
    height, width = y_BCHW.shape[-2:]
    y_BCHW = F.pad(y_BCHW, (0, int(width == 1), 0, int(height == 1)), mode="replicate")
    rows_BCHW = y_BCHW[..., 1:, :] - y_BCHW[..., :-1, :]
    detail_BCHW = (rows_BCHW[..., 1:] - rows_BCHW[..., :-1]).abs()  # of standard deviation 2 sigma
    counts_BN = _noisy_parts(detail_BCHW).flatten(1)
    # Sorted, because torch.median has no deterministic form on CUDA. 0.6745: median of |N(0, 1)|.
    sorted_BN = detail_BCHW.flatten(1).masked_fill(~counts_BN, torch.inf).sort(dim=1).values
    number_B1 = counts_BN.sum(dim=1, keepdim=True)
    middle_B = sorted_BN.gather(1, number_B1 // 2).squeeze(1)
    return torch.where(number_B1.squeeze(1) > 0, middle_B, 0.0) / (2 * 0.6745)


def _noisy_parts(detail_BCHW: Tensor) -> Tensor:
    """The places with details, not only rounding, in most of the 9 x 9 places around them.

    Most: else the empty rim of a photograph would count, or the edges of a drawing, which have no
    noise beside them.
    """
    present_BCHW = (detail_BCHW > 1e-6).to(detail_BCHW.dtype)
    return F.avg_pool2d(present_BCHW, 9, stride=1, padding=4, count_include_pad=False) > 0.5


def _noise_level(y_BCHW: Tensor, sigma: Tensor | float | None, has_input: bool) -> Tensor | None:
    """sigma_B as given, or as estimated where it isn't.

    None for a network that has no input for it.
    """
    if not has_input:
        if sigma is not None:
            raise ValueError(
                "sigma was given to a restorer that was built without noise_level. Leave it out."
            )
        return None
    if sigma is None:
        return _estimate_sigma(y_BCHW)
    return torch.as_tensor(sigma, dtype=y_BCHW.dtype, device=y_BCHW.device).expand(len(y_BCHW))


def _append_level(maps_BFhw: Tensor, sigma_B: Tensor | None) -> Tensor:
    """One more map, of the noise level, as in FFDNet (arXiv:1710.04026), if there is one."""
    if sigma_B is None:
        return maps_BFhw
    level_B1hw = sigma_B[:, None, None, None].expand(-1, 1, *maps_BFhw.shape[2:])
    return torch.cat((maps_BFhw, level_B1hw), dim=1)


def _conv3(in_channels: int, out_channels: int, stride: int = 1, zero: bool = False) -> nn.Conv2d:
    """3x3 convolution with He initialisation.

    `zero` starts it at 0, so that the network starts as the identity.
    """
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    if zero:
        nn.init.zeros_(conv.weight)
    else:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around one ReLU, added to their input.

    Source: Lim et al. 2017 (EDSR), arXiv:1707.02921, section 3.1: neither batch normalisation nor a
    last ReLU.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv3(width, width)
        self.second = _conv3(width, width, zero=True)

    def forward(self, maps_BFhw: Tensor) -> Tensor:
        """The maps with what the block adds to them."""
        residual_BFhw: Tensor = self.second(F.relu(self.first(maps_BFhw), inplace=True))
        return maps_BFhw + residual_BFhw


class LayerNorm2d(nn.Module):
    """Normalises the maps of each pixel on their own: nothing depends on the rest of a picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, maps_BFhw: Tensor) -> Tensor:
        """Maps of mean 0 and variance 1 at every pixel, scaled and shifted map by map."""
        # In channels_last the permuted maps are contiguous as they are: no copy.
        maps_BhwF = maps_BFhw.permute(0, 2, 3, 1)
        return F.layer_norm(maps_BhwF, self.gain.shape, self.gain, self.bias, eps=1e-6).permute(
            0, 3, 1, 2
        )


class NafBlock(nn.Module):
    """A block without activation functions.

    Products of two halves of the maps (SimpleGate) take their place.

    Source: Chen et al. 2022 (NAFNet), arXiv:2204.04676, figure 3c and eq. 6 to 8; both expansions
    are twofold.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial_norm = LayerNorm2d(width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.attention = nn.Conv2d(width, width, 1)  # simplified channel attention
        self.spatial_out = nn.Conv2d(width, width, 1)
        self.channel_norm = LayerNorm2d(width)
        self.channel_in = nn.Conv2d(width, 2 * width, 1)
        self.channel_out = nn.Conv2d(width, width, 1)
        self.spatial_scale = nn.Parameter(torch.zeros(width, 1, 1))
        self.channel_scale = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, maps_BFhw: Tensor) -> Tensor:
        """The maps with what the block adds to them."""
        inner_BFhw = _simple_gate(self.depthwise(self.expand(self.spatial_norm(maps_BFhw))))
        # mean() and not adaptive pooling, whose gradient has no deterministic form on CUDA.
        inner_BFhw = inner_BFhw * self.attention(inner_BFhw.mean(dim=(2, 3), keepdim=True))
        maps_BFhw = maps_BFhw + self.spatial_out(inner_BFhw) * self.spatial_scale
        inner_BFhw = _simple_gate(self.channel_in(self.channel_norm(maps_BFhw)))
        output_BFhw: Tensor = maps_BFhw + self.channel_out(inner_BFhw) * self.channel_scale
        return output_BFhw


def _simple_gate(maps_BFhw: Tensor) -> Tensor:
    """The product of the first and the second half of the maps."""
    first_BFhw, second_BFhw = maps_BFhw.chunk(2, dim=1)
    return first_BFhw * second_BFhw


class UnetRestorer(nn.Module):
    """Residual blocks from half resolution down and up again, with skips between equal resolutions.

    Source: U-Net (arXiv:1505.04597) for the shape; DRUNet (arXiv:2008.13751) for residual blocks,
    strided 2x2 convolutions and skips that add instead of concatenate; sub-pixel upsampling as in
    NAFNet (arXiv:2204.04676).

    Args:
        channels: image channels.
        width: feature maps at half resolution; twice as many at each lower one.
        levels: number of resolutions, >= 1: 1/2, 1/4, ...
        blocks: blocks at each resolution on the way down, and on the way up; an output pixel sees
            less than (6 * blocks + 1) * 2^levels input pixels to each side.
        upscale: how many times larger than its input the output is (super-resolution), 1 for equal
            sizes.
        noise_level: whether it sees the standard deviation of the noise.
    """

    block: type[nn.Module] = ResidualBlock

    def __init__(
        self,
        channels: int,
        width: int,
        levels: int,
        blocks: int,
        upscale: int = 1,
        noise_level: bool = False,
    ) -> None:
        super().__init__()
        self.upscale = upscale
        self.noise_level = noise_level
        widths = [width * 2**level for level in range(levels)]
        self.first = _conv3(4 * channels + noise_level, width)
        self.encoders = nn.ModuleList(
            self._blocks(maps, blocks) for maps in widths
        )  # the last one is the bottom
        self.downs = nn.ModuleList(nn.Conv2d(maps, 2 * maps, 2, stride=2) for maps in widths[:-1])
        self.ups = nn.ModuleList(
            nn.Conv2d(2 * maps, 4 * maps, 1, bias=False) for maps in widths[:-1]
        )
        self.decoders = nn.ModuleList(self._blocks(maps, blocks) for maps in widths[:-1])
        self.last = _conv3(width, channels * (2 * upscale) ** 2, zero=True)

    def _blocks(self, width: int, count: int) -> nn.Sequential:
        return nn.Sequential(*(self.block(width) for _ in range(count)))

    def _body(self, maps_BFhw: Tensor) -> Tensor:
        """Down and up again; both sides are multiples of 2^(levels - 1)."""
        skips = []
        for encoder, down in zip(
            self.encoders, self.downs, strict=False
        ):  # the bottom has no way down
            maps_BFhw = encoder(maps_BFhw)
            skips.append(maps_BFhw)
            maps_BFhw = down(maps_BFhw)
        maps_BFhw = self.encoders[-1](maps_BFhw)
        for decoder, up in zip(reversed(self.decoders), reversed(self.ups), strict=True):
            maps_BFhw = decoder(F.pixel_shuffle(up(maps_BFhw), 2) + skips.pop())
        return maps_BFhw

    def forward(self, y_BCHW: Tensor, sigma: Tensor | float | None = None) -> Tensor:
        """The restored images.

        Args:
            y_BCHW: degraded images of any size; of the range [0, 1], noise may leave it.
            sigma: standard deviation of their noise in units of the range, one number or one an
                image; with `noise_level` alone, and estimated there if it is None.

        Returns:
            x_hat_BCHW: estimate of the clean images, not clipped, `upscale` times as high and wide
                as `y_BCHW`.

        Raises:
            ValueError: if sigma is given to a network without `noise_level`.
        """
        height, width = y_BCHW.shape[-2:]
        sigma_B = _noise_level(y_BCHW, sigma, self.noise_level)
        packed_BFhw = F.pixel_unshuffle(_pad_to_multiple(y_BCHW, 2 ** len(self.encoders)), 2)
        maps_BFhw = self._body(self.first(_append_level(packed_BFhw - 0.5, sigma_B)))
        residual_BCHW = F.pixel_shuffle(self.last(maps_BFhw), 2 * self.upscale)
        cropped_BCHW = residual_BCHW[..., : height * self.upscale, : width * self.upscale]
        return _upsample(y_BCHW, self.upscale) + cropped_BCHW

    def estimates(self, y_BCHW: Tensor, sigma: Tensor | float | None = None) -> list[Tensor]:
        """The list of the one estimate of `forward`."""
        return [self(y_BCHW, sigma)]


class NafnetRestorer(UnetRestorer):
    """The U-Net with NAFNet's blocks, from half resolution.

    Its channel attention sees the whole picture.

    So a tile is not restored as the whole picture is, however wide its margin (Chu et al. 2022,
    arXiv:2112.04491).

    Source: Chen et al. 2022 (NAFNet), arXiv:2204.04676.
    """

    block = NafBlock
