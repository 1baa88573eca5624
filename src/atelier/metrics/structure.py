"""Structural similarity at one scale and at five.

Shape suffixes: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
# Weights of the scales from the finest on: Wang et al. 2003, section 3.2.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# The fifth scale is a sixteenth of the image, rounded up, and has to hold a window.
MS_SSIM_SIDE = (SSIM_WINDOW - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1
_C1, _C2 = 0.01**2, 0.03**2  # (K1 * data range)^2 and (K2 * data range)^2


def similarity_N(a_NCHW: Values, b_NCHW: Values) -> tuple[Values, Values]:
    """SSIM, and its part without luminance (contrast and structure), of every pair of images.

    Args:
        a_NCHW: images, data range 1; H and W at least 11.
        b_NCHW: images of the same shape.

    Returns:
        ssim_N and contrast_N: means over the windows inside the image, and over the channels.

    Source: Wang et al. 2004, Image quality assessment: from error visibility to structural
    similarity, eq. 13.
    """
    mean_a, mean_b = _window_means(a_NCHW), _window_means(b_NCHW)
    variance_a = _window_means(a_NCHW * a_NCHW) - mean_a * mean_a
    variance_b = _window_means(b_NCHW * b_NCHW) - mean_b * mean_b
    covariance = _window_means(a_NCHW * b_NCHW) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    contrast = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return (luminance * contrast).mean(axis=(1, 2, 3)), contrast.mean(axis=(1, 2, 3))


def multiscale_similarity_N(a_NCHW: Values, b_NCHW: Values, finest_contrast_N: Values) -> Values:
    """MS-SSIM of every pair of images.

    Args:
        a_NCHW: images, data range 1; H and W at least `MS_SSIM_SIDE`.
        b_NCHW: images of the same shape.
        finest_contrast_N: what `similarity_N` gives for them.

    Returns:
        ms_ssim_N: in [0, 1]; a scale of negative contrast counts as 0.

    Source: Wang, Simoncelli, Bovik 2003, Multi-scale structural similarity for image quality
    assessment, eq. 7.
    """
    product_N = finest_contrast_N.clip(min=0) ** SCALE_WEIGHTS[0]
    for scale, weight in enumerate(SCALE_WEIGHTS[1:], start=2):
        a_NCHW, b_NCHW = _halved(a_NCHW), _halved(b_NCHW)
        ssim_N, contrast_N = similarity_N(a_NCHW, b_NCHW)
        part_N = (
            ssim_N if scale == len(SCALE_WEIGHTS) else contrast_N
        )  # luminance counts at the coarsest scale alone
        product_N = product_N * part_N.clip(min=0) ** weight
    return np.asarray(product_N)


def _halved(a_NCHW: Values) -> Values:
    """Means of 2 x 2 pixels; beyond an odd side its last row or column repeats, as in the paper."""
    odd = [(0, 0), (0, 0), *((0, side % 2) for side in a_NCHW.shape[2:])]
    num_images, channels, height, width = (a_NCHW := np.pad(a_NCHW, odd, mode="edge")).shape
    squares = a_NCHW.reshape(num_images, channels, height // 2, 2, width // 2, 2)
    return np.asarray(squares.mean(axis=(3, 5)))


def _window_means(a_NCHW: Values) -> Values:
    """Gaussian mean of every window inside the images, as two one-dimensional passes.

    Shape NC(H - 10)(W - 10).
    """
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-np.square(offsets) / (2 * SSIM_SIGMA**2))
    weights /= weights.sum()
    for axis in (2, 3):
        a_NCHW = np.lib.stride_tricks.sliding_window_view(a_NCHW, SSIM_WINDOW, axis) @ weights
    return a_NCHW
