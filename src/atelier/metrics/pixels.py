"""Fidelity of restored images to clean ones, per image.

Shapes: N images, C channels, H and W pixels. Arrays are numpy; `tensor.numpy()` gives one from a CPU tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from atelier.errors import EvaluationError
from atelier.metrics.intervals import UNIT, Score, mean_interval

# Two images that are equal have an infinite PSNR, which would make any mean infinite. Rounding to 8 bits alone
# costs 58.9 dB, so 100 dB (an error of 1e-5 of the range) is beyond anything a restorer can mean.
PSNR_CAP_DB = 100.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # (K1 * data range)^2 and (K2 * data range)^2
# SSIM keeps about 15 temporaries of the size of its input: 2**18 values in float64 are 32 MB, and stay near the cache.
_VALUES_PER_CHUNK = 2**18

_IMAGES = "images in [0, 1], restored one clipped to it, no rounding to 8 bits"
PROTOCOLS = {
    "mse": f"mean squared error per image, {_IMAGES}, all channels, no border removed",
    "psnr": (
        f"PSNR in dB per image, data range 1, capped at {PSNR_CAP_DB:g} dB, {_IMAGES}, all channels, no border removed"
    ),
    "ssim": (
        f"SSIM per image, Gaussian window {SSIM_WINDOW}, sigma {SSIM_SIGMA}, K1 0.01, K2 0.03, data range 1, "
        f"{_IMAGES}, mean over channels, only windows inside the image"
    ),
}

Images = NDArray[np.float32]


def mse_N(x_hat: Images, x: Images) -> NDArray[np.float64]:
    """Mean squared error of every image.

    Args:
        x_hat: restored images, float32 NCHW; values outside [0, 1] are clipped to it.
        x: clean images, float32 NCHW in [0, 1].

    Returns:
        mse_N: in [0, 1], in units of the squared image range.

    Raises:
        EvaluationError: if the shapes differ, a value is not finite, or `x` leaves [0, 1].
    """
    chunks = [np.square(a - b).mean(axis=(1, 2, 3)) for a, b in _chunks(x_hat, x)]
    return np.concatenate(chunks)


def psnr_N(x_hat: Images, x: Images) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of every image.

    Args:
        x_hat: restored images, float32 NCHW; values outside [0, 1] are clipped to it.
        x: clean images, float32 NCHW in [0, 1].

    Returns:
        psnr_N: -10 log10(MSE) in dB, at least 0; images that are equal get the cap of 100 dB.

    Raises:
        EvaluationError: as `mse_N`.
    """
    smallest_mse = 10 ** (-PSNR_CAP_DB / 10)
    return -10 * np.log10(np.maximum(mse_N(x_hat, x), smallest_mse))


def ssim_N(x_hat: Images, x: Images) -> NDArray[np.float64]:
    """Structural similarity of every image, over the windows that lie wholly inside the image.

    As in the authors' code and in scikit-image. torchmetrics also counts windows over a mirrored border, and
    its two-dimensional convolution takes 7 times as long in float32 as this in float64.

    Args:
        x_hat: restored images, float32 NCHW; values outside [0, 1] are clipped to it.
        x: clean images, float32 NCHW in [0, 1]; H and W at least 11.

    Returns:
        ssim_N: in [-1, 1], mean over pixels and channels.

    Raises:
        EvaluationError: as `mse_N`, and if an image is smaller than the window.

    Source: Wang et al. 2004, Image quality assessment: from error visibility to structural similarity, eq. 13.
    """
    if min(x.shape[-2:]) < SSIM_WINDOW:
        raise EvaluationError(
            f"ssim: images of {x.shape[-2]}x{x.shape[-1]} pixels are smaller than the window of "
            f"{SSIM_WINDOW}x{SSIM_WINDOW}. Evaluate larger images, or leave SSIM out for this dataset."
        )
    return np.concatenate([_ssim_of_chunk(a, b) for a, b in _chunks(x_hat, x)])


def fidelity_N(x_hat: Images, x: Images) -> dict[str, NDArray[np.float64]]:
    """`mse`, `psnr` and `ssim` of every image; images of another size are measured by another call.

    Args:
        x_hat: restored images, float32 NCHW; values outside [0, 1] are clipped to it.
        x: clean images, float32 NCHW in [0, 1]; H and W at least 11.

    Raises:
        EvaluationError: as `ssim_N`.
    """
    return {"mse": mse_N(x_hat, x), "psnr": psnr_N(x_hat, x), "ssim": ssim_N(x_hat, x)}


def restoration_scores(
    values: Mapping[str, NDArray[np.float64]], confidence: float, scored: str = ""
) -> dict[str, Score]:
    """Mean MSE, PSNR and SSIM over the images, with intervals over the images.

    Args:
        values: what `fidelity_N` gives, of N >= 2 images.
        confidence: coverage of the intervals, in (0, 1).
        scored: which part of the images was measured, for the protocol; empty: all of it.

    Returns:
        `mse`, `psnr` (mean of the images' dB, not dB of the mean error) and `ssim`.
    """
    bounds = {"mse": UNIT, "psnr": (0.0, PSNR_CAP_DB), "ssim": (-1.0, 1.0)}
    return {
        metric: mean_interval(values[metric], confidence, PROTOCOLS[metric] + scored, limits)
        for metric, limits in bounds.items()
    }


def _ssim_of_chunk(a_NCHW: NDArray[np.float64], b_NCHW: NDArray[np.float64]) -> NDArray[np.float64]:
    mean_a, mean_b = _window_means(a_NCHW), _window_means(b_NCHW)
    variance_a = _window_means(a_NCHW * a_NCHW) - mean_a * mean_a
    variance_b = _window_means(b_NCHW * b_NCHW) - mean_b * mean_b
    covariance = _window_means(a_NCHW * b_NCHW) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return np.asarray((luminance * structure).mean(axis=(1, 2, 3)))


def _window_means(a_NCHW: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian mean of every window inside the images, as two one-dimensional passes; shape NC(H - 10)(W - 10)."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-np.square(offsets) / (2 * SSIM_SIGMA**2))
    weights /= weights.sum()
    for axis in (2, 3):
        a_NCHW = np.lib.stride_tricks.sliding_window_view(a_NCHW, SSIM_WINDOW, axis) @ weights
    return a_NCHW


def _chunks(x_hat: Images, x: Images) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Pairs of a few images in float64, checked and clipped: float32 loses four digits of a variance near 1."""
    if x_hat.shape != x.shape or x.ndim != 4 or x.size == 0:
        raise EvaluationError(
            f"restored images of shape {x_hat.shape} against clean images of shape {x.shape}: both must have the same "
            "NCHW shape with at least 1 image. Restore every clean image to its own size."
        )
    step = max(1, _VALUES_PER_CHUNK // x[0].size)
    for start in range(0, len(x), step):
        a, b = x_hat[start : start + step].astype(np.float64), x[start : start + step].astype(np.float64)
        if not np.isfinite(a).all():
            raise EvaluationError(
                f"restored images {start} to {start + len(a) - 1} hold NaN or infinity. The restorer diverged: look at "
                "its loss curve, and restore from an earlier checkpoint."
            )
        # A reference in [-1, 1] or 0..255 would give a plausible but wrong number. float32 may miss 1 by 1e-7.
        if not (b.min() >= -1e-6 and b.max() <= 1 + 1e-6):
            raise EvaluationError(
                f"clean images {start} to {start + len(b) - 1} span [{b.min():.4g}, {b.max():.4g}], not [0, 1]. Scale "
                "them to [0, 1] before scoring (uint8: divide by 255)."
            )
        yield a.clip(0, 1), b.clip(0, 1)
