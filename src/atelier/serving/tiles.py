"""Pictures of any size in bounded memory: cut into tiles, and equal bit by bit to one pass.

The file imports nothing of Atelier: it is stored beside the network of every registered restorer,
and loaded by path (so without `from __future__ import annotations`, by which dataclasses look for
their module).

A tile is cut out with a margin as wide as the network sees, and only its inside is kept: nothing is
blended. How far a network sees is measured, not declared: NaN in one pixel of its input makes NaN
of every output that depends on this pixel, whatever the weights.

Shapes: N images, B images or strips of a pass, C channels, H height, W width, L length
of a strip; u is `upscale`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

PASS_IMAGES = 256  # in one pass: bounds memory, does not change the result
PASS_PIXELS = 2**19  # in one pass; larger images are cut
WHOLE_PIXELS = 2**23  # of an image for a network that needs to see all of it
PHASES = 64  # neighbouring pixels that are probed: the longest stride, that of a unet of 6 levels
LONGEST_STRIP = 2048  # in pixels
STRIPS = 8  # in one pass
CORE = 512  # the shortest side of a tile's inside
FEWEST_PIXELS = 2**17  # of a tile
ESTIMATE_ROWS = 256  # of a picture whose noise is estimated, at once


@dataclass(frozen=True)
class Reach:
    """What an output pixel depends on.

    Attributes:
        radius: input pixels that it sees to each side.
        stride: a cut at a multiple of it, in input pixels, finds the network's lower resolutions as
            they lie in the whole picture.
    """

    radius: int
    stride: int

    @property
    def margin(self) -> int:
        """Around a tile's inside: the radius, rounded up to whole strides."""
        return -(-self.radius // self.stride) * self.stride

    @property
    def core(self) -> int:
        """The side of a tile's inside, such that the margins cost at most as much again."""
        return max(CORE, 5 * self.margin)


def measure_reach(network: nn.Module, channels: int, arguments: dict[str, Any]) -> Reach | None:
    """How far a restorer sees; None if each output pixel depends on the whole picture.

    Args:
        network: maps y_BCHW to x_hat_BCHW, `network.upscale` times as high and wide.
        channels: of its images.
        arguments: of its `forward`; a noise level has to be among them if it would be estimated.
    """
    length = 4 * PHASES
    while length <= LONGEST_STRIP:
        across = _spread(network, channels, arguments, length, upright=False)
        down = _spread(network, channels, arguments, length, upright=True)
        first = min(across[:, 0].min().item(), down[:, 0].min().item())
        last = max(across[:, 1].max().item(), down[:, 1].max().item())
        if first > 0 and last < length - 1:
            reaches = torch.cat((across, down), dim=1)
            return Reach(_radius(reaches, length), _stride(reaches))
        length *= 2
    return None


def _spread(
    network: nn.Module, channels: int, arguments: dict[str, Any], length: int, upright: bool
) -> Tensor:
    """The first and the last input pixel whose output a NaN at each phase reaches, B x 2."""
    start = (length - PHASES) // 2 // PHASES * PHASES
    device = next(network.parameters()).device
    strips_BCHW = torch.zeros(PHASES, channels, 1, length, device=device)
    phases = torch.arange(PHASES, device=device)
    strips_BCHW[phases, :, 0, start + phases] = torch.nan
    if upright:
        strips_BCHW = strips_BCHW.transpose(2, 3).contiguous()
    parts = torch.split(strips_BCHW, STRIPS)
    touched_BHW = torch.cat([network(part, **arguments).isnan().any(dim=1) for part in parts])
    touched_BL = touched_BHW.any(dim=2 if upright else 1).to(torch.int8)
    upscale = touched_BL.shape[1] // length
    first_B = touched_BL.argmax(dim=1) // upscale
    last_B = length - 1 - touched_BL.flip(1).argmax(dim=1) // upscale
    return torch.stack((first_B, last_B), dim=1).cpu()


def _radius(reaches: Tensor, length: int) -> int:
    start = (length - PHASES) // 2 // PHASES * PHASES
    distances = (reaches - (start + torch.arange(PHASES))[:, None]).abs()
    return int(distances.max())


def _stride(reaches: Tensor) -> int:
    """The shortest shift that moves what is reached by as much, whichever pixel it starts from."""
    for stride in range(1, PHASES):
        if bool((reaches[stride:] == reaches[:-stride] + stride).all()):
            return stride
    return PHASES


@dataclass(frozen=True)
class _Cut:
    """One side of a tile, in input pixels: what is kept, and what the network is shown."""

    start: int
    stop: int
    around: slice

    def inside(self, upscale: int) -> slice:
        offset = self.around.start
        return slice((self.start - offset) * upscale, (self.stop - offset) * upscale)

    def target(self, upscale: int) -> slice:
        return slice(self.start * upscale, self.stop * upscale)


def _cuts(length: int, reach: Reach, breadth: int) -> Iterator[_Cut]:
    """A side of a picture in parts, whose tiles are `breadth` pixels across.

    No tile has few pixels where the picture has many: for small inputs torch takes a convolution
    that rounds otherwise. So the last one reaches back as far as the others, and the tiles of a
    narrow picture are long.
    """
    wanted = max(reach.core, FEWEST_PIXELS // breadth)
    core = -(-wanted // reach.stride) * reach.stride
    for start in range(0, length, core):
        stop = min(start + core, length)
        end = min(length, stop + reach.margin)
        first = min(start - reach.margin, end - core) // reach.stride * reach.stride
        yield _Cut(start, stop, slice(max(0, first), end))


class Restorer:
    """A network that restores pictures of any size, those that are too large for a pass in tiles.

    Args:
        name: of the network, for people.
        network: maps y_BCHW to x_hat_BCHW, `network.upscale` times as high and wide.
        channels: of its images.
    """

    def __init__(self, name: str, network: nn.Module, channels: int) -> None:
        self._name = name
        self._upscale: int = network.upscale  # type: ignore[assignment]
        self._network = network
        # Torch's convolutions on a CPU take it as it is; the other order is rearranged for each.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._channels = channels
        self._reaches: dict[int, Reach | None] = {}  # by number of iterations

    def restore(self, y_NCHW: Tensor, arguments: dict[str, Any]) -> np.ndarray:
        """Restored images x_hat_NCHW, float32 in [0, 1], u times as high and wide.

        Args:
            y_NCHW: images of one size, on the CPU.
            arguments: of the network's `forward`.

        Raises:
            ValueError: if they have too many pixels for a network that needs to see all of them.
        """
        num_images, channels, height, width = y_NCHW.shape
        upscale = self._upscale
        shape = (num_images, channels, height * upscale, width * upscale)
        x_hat_NCHW = np.empty(shape, np.float32)
        reach = self._reach(arguments) if height * width > PASS_PIXELS else None
        if reach is None:
            self._refuse_more_than_a_pass(height, width)
            batch = max(1, min(PASS_IMAGES, PASS_PIXELS // (height * width)))
            for start in range(0, num_images, batch):
                part = slice(start, start + batch)
                answer_BCHW = self._network(y_NCHW[part].to(self._device()), **arguments)
                x_hat_NCHW[part] = answer_BCHW.clamp(0, 1).cpu().numpy()
            return x_hat_NCHW
        for y_CHW, x_hat_CHW in zip(y_NCHW, x_hat_NCHW, strict=True):
            own = dict(arguments)
            if self._network.noise_level and "sigma" not in own:
                own["sigma"] = estimate_sigma(y_CHW)
            self._restore_in_tiles(y_CHW, own, reach, x_hat_CHW)
        return x_hat_NCHW

    def _restore_in_tiles(
        self, y_CHW: Tensor, arguments: dict[str, Any], reach: Reach, x_hat_CHW: np.ndarray
    ) -> None:
        """Equal to the bit to what one pass gives, on a CPU, for an `upscale` of 1, 2 or 4.

        With 3 the bicubic enlargement rounds positions otherwise; values differ by less than 1e-4
        per 1000 pixels of a side. A recurrent network may round a few values otherwise, by their
        last bit: torch takes sigmoid and tanh of the last values of a tensor by other instructions.
        """
        upscale = self._upscale
        height, width = y_CHW.shape[1:]
        for rows in _cuts(height, reach, width):
            for columns in _cuts(width, reach, rows.around.stop - rows.around.start):
                tile_1CHW = y_CHW[None, :, rows.around, columns.around].to(self._device())
                answer_CHW = self._network(tile_1CHW, **arguments)[0].clamp(0, 1)
                inside_CHW = answer_CHW[:, rows.inside(upscale), columns.inside(upscale)]
                target = (slice(None), rows.target(upscale), columns.target(upscale))
                x_hat_CHW[target] = inside_CHW.cpu().numpy()

    def _reach(self, arguments: dict[str, Any]) -> Reach | None:
        iterations = arguments.get("iterations", 0)
        if iterations not in self._reaches:
            own = {**arguments, "sigma": 0.1} if self._network.noise_level else arguments
            self._reaches[iterations] = measure_reach(self._network, self._channels, own)
        return self._reaches[iterations]

    def _refuse_more_than_a_pass(self, height: int, width: int) -> None:
        if height * width > WHOLE_PIXELS:
            raise ValueError(
                f"{self._name} looks at the whole picture, so {width} x {height} pixels can't be "
                f"cut into tiles; it takes at most {WHOLE_PIXELS:,}. Make the picture smaller, or "
                "use another network."
            )

    def _device(self) -> torch.device:
        return next(self._network.parameters()).device


def estimate_sigma(y_CHW: Tensor) -> float:
    """The noise level that the network itself would estimate of one picture, in less memory.

    The same median of the same numbers as `_estimate_sigma` of network.py, collected row by row.
    """
    y_CHW = F.pad(y_CHW, (0, int(y_CHW.shape[2] == 1), 0, int(y_CHW.shape[1] == 1)), "replicate")
    height = y_CHW.shape[1]
    details = np.empty(y_CHW[:, 1:, 1:].numel(), np.float32)
    number = 0
    for top in range(0, height - 1, ESTIMATE_ROWS):
        bottom = min(top + ESTIMATE_ROWS, height - 1)
        # Each place is judged by the 4 rows of differences above and below it.
        first = max(0, top - 4)
        detail_CHW = _second_differences(y_CHW[:, first : min(height, bottom + 5)])
        counts_CHW = _noisy_parts(detail_CHW)
        kept = slice(top - first, bottom - first)
        counted = detail_CHW[:, kept][counts_CHW[:, kept]].numpy()
        details[number : number + len(counted)] = counted
        number += len(counted)
    if not number:
        return 0.0
    middle = number // 2
    details[:number].partition(middle)
    return float(torch.tensor(details[middle]) / (2 * 0.6745))


def _second_differences(y_CHW: Tensor) -> Tensor:
    rows_CHW = y_CHW[:, 1:] - y_CHW[:, :-1]
    return (rows_CHW[..., 1:] - rows_CHW[..., :-1]).abs_()


def _noisy_parts(detail_CHW: Tensor) -> Tensor:
    present_CHW = (detail_CHW > 1e-6).to(detail_CHW.dtype)
    return F.avg_pool2d(present_CHW, 9, stride=1, padding=4, count_include_pad=False) > 0.5
