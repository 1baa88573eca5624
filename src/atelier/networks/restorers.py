"""Image restorers: degraded image in, estimate of the clean image out (one build table: `RESTORERS`).

Every restorer takes images of any height and width, and works at reduced resolution inside (pixel-unshuffle, as in
FFDNet, arXiv:1710.04026), which costs a quarter of the time. Every restorer has `estimates`, the list of its successive
estimates, so that one training loop fits them all.

This file imports nothing of Atelier: its source is stored beside the weights of every registered model, loaded by path.

Shape suffixes: B batch, C channels, H height, W width, F feature maps, h = H/2, w = W/2, q = H/4, r = W/4.
"""

from typing import Any

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


def _conv3(in_channels: int, out_channels: int, stride: int = 1, zero: bool = False) -> nn.Conv2d:
    """3x3 convolution with He initialisation; `zero` starts it at 0, so that the network starts as the identity."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    if zero:
        nn.init.zeros_(conv.weight)
    else:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


class CnnRestorer(nn.Module):
    """Residual convolutional restorer: `depth` convolutions at half resolution predict what to add to the input.

    Source: DnCNN (arXiv:1608.03981) for the global skip, FFDNet (arXiv:1710.04026) for the half resolution; no batch
    normalisation, so that an estimate never depends on the other images of a batch.

    Args:
        channels: image channels.
        width: feature maps of each hidden convolution.
        depth: number of convolutions, >= 2; the receptive field is about 4 * depth pixels wide.
        upscale: how many times larger than its input the output is (super-resolution), 1 for equal sizes.
    """

    def __init__(self, channels: int, width: int, depth: int, upscale: int = 1) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(f"depth = {depth} is below 2: the network has a first and a last convolution.")
        self.upscale = upscale
        layers: list[nn.Module] = [_conv3(4 * channels, width), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [_conv3(width, width), nn.ReLU(inplace=True)]
        layers.append(_conv3(width, channels * (2 * upscale) ** 2, zero=True))
        self.body = nn.Sequential(*layers)

    def forward(self, y_BCHW: Tensor) -> Tensor:
        """The restored images.

        Args:
            y_BCHW: degraded images of any size; of the range [0, 1], noise may leave it.

        Returns:
            x_hat_BCHW: estimate of the clean images, not clipped, `upscale` times as high and wide as `y_BCHW`.
        """
        height, width = y_BCHW.shape[-2:]
        packed_BFhw = F.pixel_unshuffle(_pad_to_multiple(y_BCHW, 2), 2)
        # The network sees roughly centred values; the skip below carries the mean.
        residual_BCHW = F.pixel_shuffle(self.body(packed_BFhw - 0.5), 2 * self.upscale)
        cropped_BCHW = residual_BCHW[..., : height * self.upscale, : width * self.upscale]
        return _upsample(y_BCHW, self.upscale) + cropped_BCHW

    def estimates(self, y_BCHW: Tensor) -> list[Tensor]:
        """The list of the one estimate of `forward`."""
        return [self(y_BCHW)]


class ConvGru(nn.Module):
    """Convolutional gated recurrent unit with 3x3 kernels.

    Source: Ballas et al. 2016, arXiv:1511.06432, eq. 8 to 11.
    """

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(in_channels + hidden, 2 * hidden, 3, padding=1)
        self.candidate = nn.Conv2d(in_channels + hidden, hidden, 3, padding=1)

    def forward(self, input_BFqr: Tensor, state_BFqr: Tensor) -> Tensor:
        """The next state, in [-1, 1] if the last one was, from the input maps and the last state."""
        gates = torch.sigmoid(self.gates(torch.cat((input_BFqr, state_BFqr), dim=1)))
        update_BFqr, reset_BFqr = gates.chunk(2, dim=1)
        candidate_BFqr = torch.tanh(self.candidate(torch.cat((input_BFqr, reset_BFqr * state_BFqr), dim=1)))
        return torch.lerp(state_BFqr, candidate_BFqr, update_BFqr)


class CrnnRestorer(nn.Module):
    """Recurrent restorer: one network, applied `iterations` times, refines its estimate.

    Each iteration sees the degraded image and the current estimate, updates one convolutional GRU at quarter
    resolution, and adds a correction to the estimate. All iterations share the weights, so their number can be chosen
    at run time.

    Source: PReNet (arXiv:1901.09221) for the recurrence; here the recurrent state is at quarter resolution.

    Args:
        channels: image channels.
        width: feature maps at half resolution; the recurrent state has twice as many.
        iterations: number of iterations where the caller does not choose, >= 1.
        upscale: how many times larger than its input the output is; the input is first enlarged bicubically.
    """

    def __init__(self, channels: int, width: int, iterations: int, upscale: int = 1) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"iterations = {iterations} is below 1.")
        self.iterations = iterations
        self.upscale = upscale
        self.hidden = 2 * width
        self.encode_half = _conv3(8 * channels, width)
        self.encode_quarter = _conv3(width, self.hidden, stride=2)
        self.cell = ConvGru(self.hidden, self.hidden)
        self.decode_quarter = _conv3(self.hidden, 4 * width)
        self.decode_half = _conv3(width, width)
        self.correction = _conv3(width, 4 * channels, zero=True)

    def _step(self, y_BCHW: Tensor, x_hat_BCHW: Tensor, state_BFqr: Tensor | None) -> tuple[Tensor, Tensor]:
        """One iteration: the next estimate and the next state; both sides of the images are multiples of 4."""
        packed_BFhw = F.pixel_unshuffle(torch.cat((y_BCHW, x_hat_BCHW), dim=1), 2)
        half_BFhw = F.relu(self.encode_half(packed_BFhw - 0.5))
        quarter_BFqr = F.relu(self.encode_quarter(half_BFhw))
        state_BFqr = self.cell(quarter_BFqr, torch.zeros_like(quarter_BFqr) if state_BFqr is None else state_BFqr)
        decoded_BFhw = F.relu(half_BFhw + F.pixel_shuffle(self.decode_quarter(state_BFqr), 2))
        decoded_BFhw = F.relu(self.decode_half(decoded_BFhw))
        return x_hat_BCHW + F.pixel_shuffle(self.correction(decoded_BFhw), 2), state_BFqr

    def estimates(self, y_BCHW: Tensor, iterations: int | None = None) -> list[Tensor]:
        """The estimate of every iteration, the first one first.

        Args:
            y_BCHW: degraded images of any size; of the range [0, 1], noise may leave it.
            iterations: number of iterations, by default that of the constructor.

        Returns:
            One x_hat_BCHW an iteration, as `forward` returns it.
        """
        enlarged_BCHW = _upsample(y_BCHW, self.upscale)
        height, width = enlarged_BCHW.shape[-2:]
        padded_BCHW = _pad_to_multiple(enlarged_BCHW, 4)
        x_hat_BCHW, state_BFqr = padded_BCHW, None
        estimates = []
        for _ in range(self.iterations if iterations is None else iterations):
            x_hat_BCHW, state_BFqr = self._step(padded_BCHW, x_hat_BCHW, state_BFqr)
            estimates.append(x_hat_BCHW[..., :height, :width])
        return estimates

    def forward(self, y_BCHW: Tensor, iterations: int | None = None) -> Tensor:
        """The last of `estimates`.

        Args:
            y_BCHW: degraded images of any size; of the range [0, 1], noise may leave it.
            iterations: number of iterations, by default that of the constructor.

        Returns:
            x_hat_BCHW: estimate of the clean images, not clipped, `upscale` times as high and wide as `y_BCHW`.
        """
        return self.estimates(y_BCHW, iterations)[-1]


RESTORERS: dict[str, type[nn.Module]] = {"cnn": CnnRestorer, "crnn": CrnnRestorer}


def build_restorer(name: str, **kwargs: Any) -> nn.Module:
    """The restorer `name` of `RESTORERS`, with fresh weights from torch's global generator."""
    return RESTORERS[name](**kwargs)
