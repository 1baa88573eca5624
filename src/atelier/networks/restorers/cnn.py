"""The restorer of plain convolutions in one pass (`cnn`).

This file imports nothing of Atelier: its source is stored beside the weights of every registered
model, loaded by path. So all restorers' files have the same helpers; a test keeps them equal.

Shape suffixes: B batch, C channels, H height, W width, F feature maps, h = H/2, w = W/2.
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


class CnnRestorer(nn.Module):
    """Residual convolutional restorer.

    `depth` convolutions at half resolution predict what to add to the input.

    Source: DnCNN (arXiv:1608.03981) for the global skip, FFDNet (arXiv:1710.04026) for the half
    resolution; no batch normalisation, so that an estimate never depends on the other images of a
    batch.

    Args:
        channels: image channels.
        width: feature maps of each hidden convolution.
        depth: number of convolutions, >= 2; an output pixel sees at most 2 * depth + 2 input pixels
            to each side.
        upscale: how many times larger than its input the output is (super-resolution), 1 for equal
            sizes.
        noise_level: whether it sees the standard deviation of the noise.
    """

    def __init__(
        self, channels: int, width: int, depth: int, upscale: int = 1, noise_level: bool = False
    ) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(
                f"depth = {depth} is below 2: the network has a first and a last convolution."
            )
        self.upscale = upscale
        self.noise_level = noise_level
        layers: list[nn.Module] = [_conv3(4 * channels + noise_level, width), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [_conv3(width, width), nn.ReLU(inplace=True)]
        layers.append(_conv3(width, channels * (2 * upscale) ** 2, zero=True))
        self.body = nn.Sequential(*layers)

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
        packed_BFhw = F.pixel_unshuffle(_pad_to_multiple(y_BCHW, 2), 2)
        # The network sees roughly centred values; the skip below carries the mean.
        maps_BFhw = _append_level(packed_BFhw - 0.5, sigma_B)
        residual_BCHW = F.pixel_shuffle(self.body(maps_BFhw), 2 * self.upscale)
        cropped_BCHW = residual_BCHW[..., : height * self.upscale, : width * self.upscale]
        return _upsample(y_BCHW, self.upscale) + cropped_BCHW

    def estimates(self, y_BCHW: Tensor, sigma: Tensor | float | None = None) -> list[Tensor]:
        """The list of the one estimate of `forward`."""
        return [self(y_BCHW, sigma)]
