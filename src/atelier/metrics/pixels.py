"""Fidelity of restored images to clean ones, by a protocol that is stored with the number.

Shapes: N images, C channels, H and W pixels. Arrays are numpy; `tensor.numpy()` gives one from a
CPU tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from atelier.errors import EvaluationError
from atelier.metrics.intervals import UNIT, Score, mean_interval
from atelier.metrics.pixel_protocol import AS_STORED, PSNR_CAP_DB, PixelProtocol
from atelier.metrics.structure import (
    MS_SSIM_SIDE,
    SSIM_WINDOW,
    multiscale_similarity_N,
    similarity_N,
)

# SSIM keeps about 15 temporaries of the size of its input: 2**18 values in float64 are 32 MB, and
# stay near the cache.
_VALUES_PER_CHUNK = 2**18
_LUMA = (
    np.array([65.481, 128.553, 24.966]) / 255
)  # of red, green and blue in [0, 1], on the scale of 16/255 for black

Images = NDArray[np.float32] | NDArray[np.float64]
Values = NDArray[np.float64]
_Pair = tuple[Values, Values]


def luma_N1HW(x_NCHW: Images) -> Values:
    """Y of YCbCr, as MATLAB's rgb2ycbcr makes it.

    Args:
        x_NCHW: images in [0, 1] of 1 or 3 channels.

    Returns:
        Y in [16/255, 235/255]; images of 1 channel as they are.

    Source: ITU-R BT.601.
    """
    x_NCHW = np.asarray(x_NCHW, dtype=np.float64)
    if x_NCHW.shape[1] == 1:
        return x_NCHW
    return np.asarray(16 / 255 + np.einsum("nchw,c->nhw", x_NCHW, _LUMA)[:, None])


def mse_N(x_hat: Images, x: Images, protocol: PixelProtocol = AS_STORED) -> Values:
    """Mean squared error of every image.

    Args:
        x_hat: restored images, NCHW; unless the protocol says otherwise, values outside [0, 1] are
            clipped to it.
        x: clean images, NCHW in [0, 1].
        protocol: what is done to both before.

    Returns:
        mse_N: at least 0, in units of the squared image range.

    Raises:
        EvaluationError: if the shapes differ, a value is not finite, `x` leaves [0, 1], or the
            border is all there is.
    """
    return np.concatenate([_mse_of_chunk(pair) for pair in _chunks(x_hat, x, protocol)])


def psnr_N(x_hat: Images, x: Images, protocol: PixelProtocol = AS_STORED) -> Values:
    """Peak signal-to-noise ratio of every image.

    Args:
        x_hat: restored images, as for `mse_N`.
        x: clean images, NCHW in [0, 1].
        protocol: what is done to both before.

    Returns:
        psnr_N: -10 log10(MSE) in dB; images that are equal get the cap of 100 dB.

    Raises:
        EvaluationError: as `mse_N`.
    """
    return _decibels(mse_N(x_hat, x, protocol))


def ssim_N(x_hat: Images, x: Images, protocol: PixelProtocol = AS_STORED) -> Values:
    """Structural similarity of every image, over the windows that lie wholly inside the image.

    As in the authors' code and in scikit-image. torchmetrics also counts windows over a mirrored
    border, and its two-dimensional convolution takes 7 times as long in float32 as this in float64.

    Args:
        x_hat: restored images, as for `mse_N`.
        x: clean images, NCHW in [0, 1]; H and W at least 11 without the border.
        protocol: what is done to both before.

    Returns:
        ssim_N: in [-1, 1], mean over pixels and channels.

    Raises:
        EvaluationError: as `mse_N`, and if an image is smaller than the window.

    Source: Wang et al. 2004, Image quality assessment: from error visibility to structural
    similarity, eq. 13.
    """
    return np.concatenate([_similarity(pair)[0] for pair in _chunks(x_hat, x, protocol)])


def ms_ssim_N(x_hat: Images, x: Images, protocol: PixelProtocol = AS_STORED) -> Values:
    """Structural similarity at five scales of every image.

    Args:
        x_hat: restored images, as for `mse_N`.
        x: clean images, NCHW in [0, 1].
        protocol: what is done to both before.

    Returns:
        ms_ssim_N: in [0, 1]; NaN if a side without the border is shorter than 161 pixels, which the
            fifth scale
        needs to hold a window.

    Raises:
        EvaluationError: as `ssim_N`.

    Source: Wang, Simoncelli, Bovik 2003, Multi-scale structural similarity for image quality
    assessment, eq. 7.
    """
    return np.concatenate(
        [_ms_ssim_of_chunk(pair, _similarity(pair)[1]) for pair in _chunks(x_hat, x, protocol)]
    )


def fidelity_N(x_hat: Images, x: Images, protocol: PixelProtocol = AS_STORED) -> dict[str, Values]:
    """All pixel metrics of every image; images of another size are measured by another call.

    Args:
        x_hat: restored images, as for `mse_N`.
        x: clean images, NCHW in [0, 1]; H and W at least 11 without the border.
        protocol: what is done to both before.

    Returns:
        `mse`, `psnr`, `ssim`, `ms_ssim` (NaN for images that are too small for it), and `lpips` if
        the protocol has a network for it.

    Raises:
        EvaluationError: as `ssim_N`, and if the network of LPIPS can't measure these images.
    """
    parts = []
    for pair in _chunks(x_hat, x, protocol):
        ssim, contrast = _similarity(pair)
        parts.append((_mse_of_chunk(pair), ssim, _ms_ssim_of_chunk(pair, contrast)))
    mse, ssim, ms_ssim = (np.concatenate(values) for values in zip(*parts, strict=True))
    found = {"mse": mse, "psnr": _decibels(mse), "ssim": ssim, "ms_ssim": ms_ssim}
    if protocol.lpips is not None:
        pairs = _chunks(x_hat, x, protocol.in_colour())
        found["lpips"] = np.concatenate([protocol.lpips.distance_N(*pair) for pair in pairs])
    return found


def restoration_scores(
    values: Mapping[str, Values],
    confidence: float,
    protocol: PixelProtocol = AS_STORED,
    scored: str = "",
) -> dict[str, Score]:
    """Mean of each metric over the images, with intervals over the images.

    Args:
        values: what `fidelity_N` gives, of N >= 2 images, or some of it.
        confidence: coverage of the intervals, in (0, 1).
        protocol: that of the values.
        scored: which part of the images was measured, for the protocol; empty: all of it.

    Returns:
        Metric -> score; PSNR is the mean of the images' dB, not dB of the mean error. MS-SSIM is of
        the images that are large enough for it, and left out if fewer than two are.
    """
    bounds = {
        "mse": UNIT,
        "psnr": (0.0, PSNR_CAP_DB),
        "ssim": (-1.0, 1.0),
        "ms_ssim": UNIT,
        "lpips": (0.0, np.inf),
    }
    scores = {}
    for metric, values_N in values.items():
        measured = values_N[~np.isnan(values_N)] if metric == "ms_ssim" else values_N
        if metric != "ms_ssim" or len(measured) > 1:
            text = protocol.texts[metric] + scored
            scores[metric] = mean_interval(measured, confidence, text, bounds[metric])
    return scores


def _mse_of_chunk(pair: _Pair) -> Values:
    return np.asarray(np.square(pair[0] - pair[1]).mean(axis=(1, 2, 3)))


def _decibels(mse: Values) -> Values:
    smallest_mse = 10 ** (-PSNR_CAP_DB / 10)
    return np.asarray(-10 * np.log10(np.maximum(mse, smallest_mse)))


def _similarity(pair: _Pair) -> tuple[Values, Values]:
    height, width = pair[0].shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise EvaluationError(
            f"ssim: images of {height}x{width} pixels are smaller than the window of "
            f"{SSIM_WINDOW}x{SSIM_WINDOW}. "
            "Evaluate larger images, lower evaluation.pixels.border, or leave SSIM out for this "
            "dataset."
        )
    return similarity_N(*pair)


def _ms_ssim_of_chunk(pair: _Pair, finest_contrast_N: Values) -> Values:
    if min(pair[0].shape[-2:]) < MS_SSIM_SIDE:
        return np.full(len(pair[0]), np.nan)
    return multiscale_similarity_N(*pair, finest_contrast_N)


def _chunks(x_hat: Images, x: Images, protocol: PixelProtocol) -> Iterator[_Pair]:
    """Pairs of a few images in float64, checked and prepared.

    Float32 loses four digits of a variance near 1.
    """
    if x_hat.shape != x.shape or x.ndim != 4 or x.size == 0:
        raise EvaluationError(
            f"restored images of shape {x_hat.shape} against clean images of shape {x.shape}: both "
            "must have the same "
            "NCHW shape with at least 1 image. Restore every clean image to its own size."
        )
    if 2 * protocol.border >= min(x.shape[-2:]):
        raise EvaluationError(
            f"evaluation.pixels.border = {protocol.border} leaves nothing of images of "
            f"{x.shape[-2]}x{x.shape[-1]} "
            "pixels. Lower it, or evaluate larger images."
        )
    step = max(1, _VALUES_PER_CHUNK // x[0].size)
    for start in range(0, len(x), step):
        a, b = (
            x_hat[start : start + step].astype(np.float64),
            x[start : start + step].astype(np.float64),
        )
        if not np.isfinite(a).all():
            raise EvaluationError(
                f"restored images {start} to {start + len(a) - 1} hold NaN or infinity. The "
                "restorer diverged: look at "
                "its loss curve, and restore from an earlier checkpoint."
            )
        # A reference in [-1, 1] or 0..255 would give a plausible but wrong number. float32 may miss
        # 1 by 1e-7.
        if not (b.min() >= -1e-6 and b.max() <= 1 + 1e-6):
            raise EvaluationError(
                f"clean images {start} to {start + len(b) - 1} span [{b.min():.4g}, "
                f"{b.max():.4g}], not [0, 1]. Scale "
                "them to [0, 1] before scoring (uint8: divide by 255)."
            )
        yield _prepared(a, protocol, protocol.clip), _prepared(b, protocol, True)


def _prepared(a_NCHW: Values, protocol: PixelProtocol, clip: bool) -> Values:
    border, (height, width) = protocol.border, a_NCHW.shape[-2:]
    a_NCHW = a_NCHW[..., border : height - border, border : width - border]
    if clip:
        a_NCHW = a_NCHW.clip(0, 1)
    if protocol.round:
        a_NCHW = (a_NCHW * 255).round() / 255
    if protocol.luma:
        a_NCHW = luma_N1HW(a_NCHW)
        if protocol.round:
            a_NCHW = (a_NCHW * 255).round() / 255
    return a_NCHW
