"""The restorer of convolutions that are applied again and again (`crnn`).

This file imports nothing of Atelier: its source is stored beside the weights of every registered
model, loaded by path. So all restorers' files have the same helpers; a test keeps them equal.

Shape suffixes: B batch, C channels, H height, W width, F feature maps, h = H/2, w = W/2, q = H/4, r
= W/4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, ...]  # of a recurrent cell, maps BFqr; the first of them is its output


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


class ConvGru(nn.Module):
    """Convolutional gated recurrent unit with 3x3 kernels.

    Source: Ballas et al. 2016, arXiv:1511.06432, eq. 8 to 11.
    """

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(in_channels + hidden, 2 * hidden, 3, padding=1)
        self.candidate = nn.Conv2d(in_channels + hidden, hidden, 3, padding=1)

    def forward(self, input_BFqr: Tensor, state: State | None) -> State:
        """The next state, in [-1, 1], from the input maps and the last state.

        `hidden` input maps start from None.
        """
        (state_BFqr,) = state or (torch.zeros_like(input_BFqr),)
        gates = torch.sigmoid(self.gates(torch.cat((input_BFqr, state_BFqr), dim=1)))
        update_BFqr, reset_BFqr = gates.chunk(2, dim=1)
        candidate_BFqr = torch.tanh(
            self.candidate(torch.cat((input_BFqr, reset_BFqr * state_BFqr), dim=1))
        )
        return (torch.lerp(state_BFqr, candidate_BFqr, update_BFqr),)


class ConvLstm(nn.Module):
    """Convolutional long short-term memory with 3x3 kernels.

    Output in [-1, 1], and a memory without bounds.

    Source: Shi et al. 2015, arXiv:1506.04214, eq. 3, without peepholes, as in PReNet
    (arXiv:1901.09221).
    """

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(in_channels + hidden, 4 * hidden, 3, padding=1)
        assert self.gates.bias is not None
        # It remembers before it learnt what to forget: Jozefowicz et al. 2015,
        # proceedings.mlr.press/v37, section 4.
        nn.init.ones_(self.gates.bias[hidden : 2 * hidden])

    def forward(self, input_BFqr: Tensor, state: State | None) -> State:
        """The next output and memory from the input maps and the last ones.

        `hidden` input maps start from None.
        """
        output_BFqr, memory_BFqr = state or (
            torch.zeros_like(input_BFqr),
            torch.zeros_like(input_BFqr),
        )
        gates = self.gates(torch.cat((input_BFqr, output_BFqr), dim=1)).chunk(4, dim=1)
        write_BFqr, keep_BFqr, read_BFqr = (torch.sigmoid(gate) for gate in gates[:3])
        memory_BFqr = keep_BFqr * memory_BFqr + write_BFqr * torch.tanh(gates[3])
        return read_BFqr * torch.tanh(memory_BFqr), memory_BFqr


CELLS = {"gru": ConvGru, "lstm": ConvLstm}


class CrnnRestorer(nn.Module):
    """Recurrent restorer: one network, applied `iterations` times, refines its estimate.

    Each iteration sees the degraded image and the current estimate, updates one convolutional
    recurrent cell at quarter resolution, and adds a correction to the estimate. All iterations
    share the weights, so their number can be chosen at run time.

    Source: PReNet (arXiv:1901.09221) for the recurrence; here the recurrent state is at quarter
    resolution.

    Args:
        channels: image channels.
        width: feature maps at half resolution; the recurrent state has twice as many.
        iterations: number of iterations where the caller does not choose, >= 1; each lets an output
            pixel see at most 20 pixels of the enlarged input more to each side (`lstm`: 16), and 3
            in all for the resolutions.
        cell: `gru` or `lstm`, which has a third more weights than `gru` in the cell, and one
            convolution less in a row.
        upscale: how many times larger than its input the output is; the input is first enlarged
            bicubically.
        noise_level: whether it sees the standard deviation of the noise.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        iterations: int,
        cell: str = "gru",
        upscale: int = 1,
        noise_level: bool = False,
    ) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"iterations = {iterations} is below 1.")
        self.iterations = iterations
        self.upscale = upscale
        self.noise_level = noise_level
        hidden = 2 * width
        self.encode_half = _conv3(8 * channels + noise_level, width)
        self.encode_quarter = _conv3(width, hidden, stride=2)
        self.cell = CELLS[cell](hidden, hidden)
        self.decode_quarter = _conv3(hidden, 4 * width)
        self.decode_half = _conv3(width, width)
        self.correction = _conv3(width, 4 * channels, zero=True)

    def _step(
        self, y_BCHW: Tensor, x_hat_BCHW: Tensor, state: State | None, sigma_B: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """One iteration: the next estimate and the next state.

        Both sides of the images are multiples of 4.
        """
        packed_BFhw = F.pixel_unshuffle(torch.cat((y_BCHW, x_hat_BCHW), dim=1), 2)
        half_BFhw = F.relu(self.encode_half(_append_level(packed_BFhw - 0.5, sigma_B)))
        state = self.cell(F.relu(self.encode_quarter(half_BFhw)), state)
        decoded_BFhw = F.relu(half_BFhw + F.pixel_shuffle(self.decode_quarter(state[0]), 2))
        decoded_BFhw = F.relu(self.decode_half(decoded_BFhw))
        return x_hat_BCHW + F.pixel_shuffle(self.correction(decoded_BFhw), 2), state

    def estimates(
        self, y_BCHW: Tensor, sigma: Tensor | float | None = None, iterations: int | None = None
    ) -> list[Tensor]:
        """The estimate of every iteration, the first one first; see `forward`."""
        sigma_B = _noise_level(y_BCHW, sigma, self.noise_level)
        enlarged_BCHW = _upsample(y_BCHW, self.upscale)
        height, width = enlarged_BCHW.shape[-2:]
        padded_BCHW = _pad_to_multiple(enlarged_BCHW, 4)
        x_hat_BCHW, state = padded_BCHW, None
        estimates = []
        for _ in range(self.iterations if iterations is None else iterations):
            x_hat_BCHW, state = self._step(padded_BCHW, x_hat_BCHW, state, sigma_B)
            estimates.append(x_hat_BCHW[..., :height, :width])
        return estimates

    def forward(
        self, y_BCHW: Tensor, sigma: Tensor | float | None = None, iterations: int | None = None
    ) -> Tensor:
        """The last of `estimates`.

        Args:
            y_BCHW: degraded images of any size; of the range [0, 1], noise may leave it.
            sigma: standard deviation of their noise in units of the range, one number or one an
                image; with `noise_level` alone, and estimated there if it is None.
            iterations: number of iterations, by default that of the constructor.

        Returns:
            x_hat_BCHW: estimate of the clean images, not clipped, `upscale` times as high and wide
                as `y_BCHW`.

        Raises:
            ValueError: if sigma is given to a network without `noise_level`.
        """
        return self.estimates(y_BCHW, sigma, iterations)[-1]
