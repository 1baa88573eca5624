"""The pixels of a split held on the device: a batch is cut out there, no byte crosses the bus.

Shapes: N images, B batch, C channels, H height, W width; P pixels of all images.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atelier.training.pixels import Pixels

SHARE_OF_FREE_MEMORY = 0.5  # the rest is for networks, gradients and activations


def fits(num_bytes: int, device: torch.device) -> bool:
    """Whether so many bytes may be held on a device.

    Never on a CPU, which reads the mapped files as fast.
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= SHARE_OF_FREE_MEMORY * free


class ResidentPixels:
    """Images of any sizes, one after another in one tensor.

    Args:
        pixels: what is copied.
        sizes_N2: height and width of each image that is copied: the first N.
        channels: of each image.
        device: where they are held.
    """

    def __init__(
        self,
        pixels: Pixels,
        sizes_N2: NDArray[np.int64],
        channels: int,
        device: torch.device,
    ) -> None:
        starts_N = np.cumsum([0, *(height * width for height, width in sizes_N2.tolist())])
        pixels_PC = np.empty((int(starts_N[-1]), channels), np.uint8)
        for image, (start, stop) in enumerate(zip(starts_N[:-1], starts_N[1:], strict=True)):
            pixels_PC[start:stop] = pixels[image].reshape(-1, channels)
        self._pixels_PC = torch.from_numpy(pixels_PC).to(device)
        self._starts_N = starts_N[:-1]
        self._widths_N = sizes_N2[:, 1]
        self._device = device

    def cut(
        self, rows_B: NDArray[np.int64], corners_B2: NDArray[np.int64], height: int, width: int
    ) -> Tensor:
        """Rectangles of one size, one from each image of `rows_B`, by their top left corners.

        Uint8 BHWC.
        """
        first_B = (
            self._starts_N[rows_B] + corners_B2[:, 0] * self._widths_N[rows_B] + corners_B2[:, 1]
        )
        told_2B = torch.from_numpy(np.stack([first_B, self._widths_N[rows_B]])).to(self._device)
        first_B11, stride_B11 = told_2B[:, :, None, None]
        rows_H1 = torch.arange(height, device=self._device)[:, None]
        columns_W = torch.arange(width, device=self._device)
        return self._pixels_PC[first_B11 + rows_H1 * stride_B11 + columns_W]
