"""Blur: y = k * x, with a kernel k for each image that sums to 1.

Gaussian, box, motion, or from a file.

A true convolution (the kernel is turned by 180 degrees), its centre the middle pixel. Beyond the
border the image's edge repeats, so every size can be blurred by every kernel, a constant image
stays one, and [0, 1] is not left.

Shape suffixes: B batch, C channels, H height, W width, K side of a kernel, N number of kernels.
"""

from __future__ import annotations

import hashlib
import io
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from atelier.degradations.step import (
    Drawn,
    DrawnInt,
    Randomness,
    Step,
    largest,
    uniform,
    uniform_int,
)

# A Gaussian ends at 4 standard deviations, as scipy.ndimage.gaussian_filter does: beyond lies 6e-5
# of it.
_TRUNCATE = 4.0


def _draw_gaussian(shape_BCHW: torch.Size, generator: torch.Generator, sigma: Drawn) -> Randomness:
    offsets_K = _offsets(int(_TRUNCATE * largest(sigma) + 0.5))
    sigma_B1 = uniform(sigma, (shape_BCHW[0], 1), generator)
    return (_normalised(torch.exp(-0.5 * (offsets_K / sigma_B1) ** 2)),)


def _draw_box(shape_BCHW: torch.Size, generator: torch.Generator, radius: DrawnInt) -> Randomness:
    offsets_K = _offsets(int(largest(radius)))
    radius_B1 = uniform_int(radius, (shape_BCHW[0], 1), generator)
    return (_normalised((offsets_K.abs() <= radius_B1).float()),)


def _draw_motion(
    shape_BCHW: torch.Size, generator: torch.Generator, length: Drawn, angle: Drawn
) -> Randomness:
    """Each pixel weighs 1 minus its distance to the path, a straight line through the centre.

    Source: fspecial('motion') of MATLAB's Image Processing Toolbox.
    """
    half_B11 = (uniform(length, (shape_BCHW[0], 1, 1), generator) - 1) / 2
    radians_B11 = torch.deg2rad(uniform(angle, (shape_BCHW[0], 1, 1), generator))
    offsets_K = _offsets(math.ceil((largest(length) - 1) / 2))
    right_K, up_K1 = offsets_K, -offsets_K[:, None]  # rows count downwards, angles anticlockwise
    along_BKK = right_K * radians_B11.cos() + up_K1 * radians_B11.sin()
    across_BKK = up_K1 * radians_B11.cos() - right_K * radians_B11.sin()
    distance_BKK = torch.hypot(across_BKK, (along_BKK.abs() - half_B11).clamp(min=0))
    return (_normalised((1 - distance_BKK).clamp(min=0)),)


def _draw_from_file(
    shape_BCHW: torch.Size, generator: torch.Generator, path: str, sha256: str
) -> Randomness:
    kernels_NKK = read_kernels(path, sha256)
    return (
        kernels_NKK[torch.randint(len(kernels_NKK), tuple(shape_BCHW[:1]), generator=generator)],
    )


@lru_cache(maxsize=8)
def read_kernels(path: str, sha256: str) -> Tensor:
    """The kernels of a file.

    Args:
        path: a .npy file with one kernel, HW, or several, NHW, or an .npz file with one kernel an
            entry.
        sha256: of the file.

    Returns:
        kernels_NKK, float32, each summing to 1, the smaller ones with a border of zeros.

    Raises:
        ValueError: if the file can't be read, is another one, or holds what is no kernel.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"degradation: kernel_blur.path = {path!r} can't be read: {error.strerror}."
        ) from None
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(
            f"degradation: kernel_blur.path = {path!r} has the sha256 {found}, not {sha256}."
        )
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = list(loaded.values()) if isinstance(loaded, np.lib.npyio.NpzFile) else [loaded]
        kernels = [kernel for array in arrays for kernel in (array if array.ndim == 3 else [array])]
    except (ValueError, EOFError, OSError, AttributeError):
        raise ValueError(
            f"degradation: kernel_blur.path = {path!r} is no .npy or .npz file of numbers."
        ) from None
    for kernel in kernels:
        _check_kernel(path, kernel)
    if not kernels:
        raise ValueError(f"degradation: kernel_blur.path = {path!r} holds no kernel.")
    side = max(max(kernel.shape) for kernel in kernels)
    borders = [[((side - length) // 2,) * 2 for length in kernel.shape] for kernel in kernels]
    return torch.from_numpy(
        np.stack(
            [
                np.pad(kernel.astype(np.float32), border)
                for kernel, border in zip(kernels, borders, strict=True)
            ]
        )
    )


def _check_kernel(path: str, kernel: Any) -> None:
    where = f"degradation: kernel_blur.path = {path!r} holds an array of shape {kernel.shape}"
    if kernel.ndim != 2 or not all(length % 2 for length in kernel.shape):
        raise ValueError(f"{where}; a kernel has two odd sides, so that its centre is a pixel.")
    if (
        not np.issubdtype(kernel.dtype, np.number)
        or not abs(kernel.sum() - 1) < 1e-3
        or kernel.min() < 0
    ):
        raise ValueError(f"{where} that is no kernel: its values must be 0 or more and sum to 1.")


def _offsets(radius: int) -> Tensor:
    return torch.arange(-radius, radius + 1, dtype=torch.float32)


def _normalised(weights_B: Tensor) -> Tensor:
    return weights_B / weights_B.flatten(1).sum(1).view(-1, *(1,) * (weights_B.ndim - 1))


def _apply_separable(x_BCHW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    (kernels_BK,) = randomness
    return _convolved(_convolved(x_BCHW, kernels_BK[:, None, :]), kernels_BK[:, :, None])


def _apply_kernel(x_BCHW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    return _convolved(x_BCHW, randomness[0])


def _convolved(x_BCHW: Tensor, kernels_BKK: Tensor) -> Tensor:
    """Each image with its own kernel."""
    below, right = (length // 2 for length in kernels_BKK.shape[1:])
    padded_BCHW = F.pad(x_BCHW.contiguous(), (right, right, below, below), mode="replicate")
    weights_B11KK = kernels_BKK.flip(1, 2).to(x_BCHW)[:, None, None]
    # One by one, channels as the batch: a convolution of all together rounds differently for other
    # batch sizes.
    blurred = [
        F.conv2d(x_CHW[:, None], w_11KK)
        for x_CHW, w_11KK in zip(padded_BCHW, weights_B11KK, strict=True)
    ]
    return torch.stack(blurred).squeeze(2)


GAUSSIAN = Step(_draw_gaussian, _apply_separable)
BOX = Step(_draw_box, _apply_separable)
MOTION = Step(_draw_motion, _apply_kernel)
FROM_FILE = Step(_draw_from_file, _apply_kernel)
