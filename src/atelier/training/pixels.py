"""Pixels as trainings read them, whether they are stored, generated, or both.

Shapes: N images, B batch, H height, W width, C channels, G generated images.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from atelier.data.images import Images


class JoinedPixels:
    """The first `count` of some images and all of others, indexed as one array of both would be."""

    def __init__(
        self,
        first: Pixels,
        count: int,
        second_GHWC: NDArray[np.uint8],
    ) -> None:
        self._first = first
        self._count = count
        self._second = second_GHWC
        self.shape: tuple[int, ...] = (count + len(second_GHWC), *second_GHWC.shape[1:])
        self.channels = second_GHWC.shape[-1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(
        self, index: int | slice | NDArray[np.int64] | tuple[int, slice, slice]
    ) -> NDArray[np.uint8]:
        """Images, uint8: an integer gives HWC.

        A slice or an array NHWC; (image, rows, columns) a crop, HWC.
        """
        if isinstance(index, (tuple, int, np.integer)):
            image, *cut = index if isinstance(index, tuple) else (int(index),)
            pixels_HWC = (
                self._first[image] if image < self._count else self._second[image - self._count]
            )
            return pixels_HWC[tuple(cut)] if cut else pixels_HWC
        wanted_N = np.arange(len(self))[index]
        images_NHWC = np.empty((len(wanted_N), *self.shape[1:]), np.uint8)
        is_first_N = wanted_N < self._count
        images_NHWC[is_first_N] = self._first[wanted_N[is_first_N]]
        images_NHWC[~is_first_N] = self._second[wanted_N[~is_first_N] - self._count]
        return images_NHWC


# All are indexed alike; of stored ones only what is indexed is read.
Pixels = Images | NDArray[np.uint8] | JoinedPixels


def sizes_of(pixels: Pixels) -> NDArray[np.int64]:
    """Height and width of each image, shape N2."""
    if isinstance(pixels, Images):
        return pixels.sizes_N2
    return np.tile(pixels.shape[1:3], (len(pixels), 1))


def crops(
    pixels: Pixels, rows_B: NDArray[np.int64], corners_B2: NDArray[np.int64], size: int
) -> NDArray[np.uint8]:
    """Squares of `size` pixels, one from each image of `rows_B`, by their top left corners.

    BHWC.
    """
    channels = pixels.shape[-1] if isinstance(pixels, np.ndarray) else pixels.channels
    cut_BHWC = np.empty((len(rows_B), size, size, channels), np.uint8)
    for cut_HWC, row, (top, left) in zip(
        cut_BHWC, rows_B.tolist(), corners_B2.tolist(), strict=True
    ):
        cut_HWC[:] = pixels[row, top : top + size, left : left + size]
    return cut_BHWC


def to_images(pixels_BHWC: NDArray[np.uint8] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """uint8 pixels as stored -> float32 NCHW in [0, 1], channels_last in memory."""
    if isinstance(pixels_BHWC, np.ndarray):
        pixels_BHWC = torch.from_numpy(np.ascontiguousarray(pixels_BHWC))
    x_BHWC = pixels_BHWC.to(device, non_blocking=True)
    return (x_BHWC.permute(0, 3, 1, 2) / 255).contiguous(memory_format=torch.channels_last)
