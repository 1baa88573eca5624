"""Classical restorers that a learned one has to beat.

`baselines_for` gives functions of the degraded batch and of its hidden pixels
(`atelier.degradations.hidden_pixels`), so that all are called alike; only the filling ones look at
the second.

Shape suffixes: N images, C channels, H and W pixels of the degraded image, h and w pixels of the
clean one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from atelier.degradations import MID_GREY, Steps, upscale_of

Baseline = Callable[[Tensor, Tensor], Tensor]

# Jacobi's error in a hole of n x n pixels shrinks by cos(pi / (n + 1)) per iteration: 200 leave 1 %
# at n = 14, half of a 28-pixel image. Deeper inside a larger hole the mean stays.
DIFFUSION_ITERATIONS = 200
# Binomial weights: a discrete Gaussian of standard deviation 0.71 pixels. Against noise of 0.2, one
# of 0.6 is best on Fashion-MNIST (by 0.1 dB), one of 1.3 on the photographs of Set12: no width is
# best for both.
_BINOMIAL = (0.25, 0.5, 0.25)
_NOISES = {"noise", "poisson", "salt_and_pepper", "speckle"}
_BLURS = {"gaussian_blur", "box_blur", "motion_blur", "kernel_blur"}
_MASKS = {"mask", "strokes", "missing_pixels"}


def baselines_for(steps: Steps) -> dict[str, Baseline]:
    """The baselines that make sense for a degradation.

    Where steps are combined, a baseline treats all of them: holes are filled by diffusion before a
    filter reads over their edge, and what was downsampled is upsampled at the end.

    Args:
        steps: the degradation, one-key mappings.

    Returns:
        Name -> function of (y_NCHW, hidden_N1HW) that returns x_hat_NChw, float32 in [0, 1], of the
        clean images' size: `identity` always (nearest upsampling after downsampling); `median3` and
        `gaussian` against noise of any kind; `gaussian` against JPEG's blocks; `sharpen` against
        blur; `mean_fill` and `diffusion_fill` against masks; `bicubic` against downsampling.
        Nothing but `identity` guesses colours: of all guesses, grey is the safest.

    Raises:
        ValueError: if a step is unknown.
    """
    factor = upscale_of(steps)
    kinds = {kind for step in steps for kind in step}
    fill: Baseline = diffusion_fill if kinds & _MASKS else identity
    chosen: dict[str, Baseline] = {}
    if kinds & _NOISES:
        chosen["median3"] = lambda y_NCHW, hidden_N1HW: median3(fill(y_NCHW, hidden_N1HW))
    if kinds & (_NOISES | {"jpeg"}):
        chosen["gaussian"] = lambda y_NCHW, hidden_N1HW: gaussian(fill(y_NCHW, hidden_N1HW))
    if kinds & _BLURS:
        chosen["sharpen"] = lambda y_NCHW, hidden_N1HW: sharpen(fill(y_NCHW, hidden_N1HW))
    if kinds & _MASKS:
        chosen |= {"mean_fill": mean_fill, "diffusion_fill": diffusion_fill}
    if "downsample" in kinds:
        chosen["bicubic"] = fill
    restorers: dict[str, Baseline] = {"identity": partial(_restore, identity, nearest, factor)}
    return restorers | {
        name: partial(_restore, restore, bicubic, factor) for name, restore in chosen.items()
    }


def identity(y_NCHW: Tensor, hidden_N1HW: Tensor) -> Tensor:
    """The degraded images themselves: what not restoring at all scores.

    Args:
        y_NCHW: degraded images, float32.
        hidden_N1HW: not looked at.

    Returns:
        `y_NCHW`.
    """
    return y_NCHW


def median3(y_NCHW: Tensor) -> Tensor:
    """Median of each pixel's 3x3 neighbourhood, the border mirrored without repeating the edge.

    Args:
        y_NCHW: images, float32, H and W at least 2.

    Returns:
        Images of the same shape and range.

    Source: Tukey 1977, Exploratory Data Analysis (running medians), in two dimensions.
    """
    return torch.stack(_shifts(F.pad(y_NCHW, (1, 1, 1, 1), mode="reflect"), 3)).median(dim=0).values


def gaussian(y_NCHW: Tensor) -> Tensor:
    """Small Gaussian blur: 3x3 binomial weights, the border mirrored without repeating the edge.

    Args:
        y_NCHW: images, float32, H and W at least 2.

    Returns:
        Images of the same shape and range.
    """
    shifts = _shifts(F.pad(y_NCHW, (1, 1, 1, 1), mode="reflect"), 3)
    weights = [row * column for row in _BINOMIAL for column in _BINOMIAL]
    return sum(
        (weight * shift for weight, shift in zip(weights, shifts, strict=True)),
        torch.zeros_like(y_NCHW),
    )


def sharpen(y_NCHW: Tensor) -> Tensor:
    """Unsharp masking: adds what `gaussian` takes away.

    Args:
        y_NCHW: images, float32, H and W at least 2.

    Returns:
        Images of the same shape; overshoots their range at edges.

    Source: Gonzalez and Woods 2018, Digital Image Processing, 4th edition, section 3.6, with k = 1.
    """
    return 2 * y_NCHW - gaussian(y_NCHW)


def mean_fill(y_NCHW: Tensor, hidden_N1HW: Tensor) -> Tensor:
    """Hidden pixels become the mean of the image's visible ones, channel by channel.

    Args:
        y_NCHW: masked images, float32.
        hidden_N1HW: bool, True where nothing of the image is left.

    Returns:
        Images of the same shape; visible pixels unchanged; mid grey if no pixel is visible.
    """
    num_visible_N111 = (~hidden_N1HW).sum(dim=(2, 3), keepdim=True)
    mean_NC11 = y_NCHW.masked_fill(hidden_N1HW, 0.0).sum(
        dim=(2, 3), keepdim=True
    ) / num_visible_N111.clamp(min=1)
    mean_NC11 = torch.where(num_visible_N111 > 0, mean_NC11, MID_GREY)
    return torch.where(hidden_N1HW, mean_NC11, y_NCHW)


def diffusion_fill(y_NCHW: Tensor, hidden_N1HW: Tensor) -> Tensor:
    """Hidden pixels become the smoothest surface through the edge of the hole.

    That is Laplace's equation, by a fixed number of Jacobi iterations that start from `mean_fill`.
    The border of the image lets nothing through (its edge is repeated), so a hole may touch it.

    Args:
        y_NCHW: masked images, float32.
        hidden_N1HW: bool, True where nothing of the image is left.

    Returns:
        Images of the same shape; visible pixels unchanged.

    Source: Press et al. 2007, Numerical Recipes, 3rd edition, section 20.5 (relaxation).
    """
    x_hat_NCHW = mean_fill(y_NCHW, hidden_N1HW)
    for _ in range(DIFFUSION_ITERATIONS):
        padded = F.pad(x_hat_NCHW, (1, 1, 1, 1), mode="replicate")
        neighbours = (
            padded[..., :-2, 1:-1]
            + padded[..., 2:, 1:-1]
            + padded[..., 1:-1, :-2]
            + padded[..., 1:-1, 2:]
        )
        x_hat_NCHW = torch.where(hidden_N1HW, neighbours / 4, x_hat_NCHW)
    return x_hat_NCHW


def nearest(y_NCHW: Tensor, factor: int) -> Tensor:
    """Each pixel becomes a square of factor x factor pixels.

    Args:
        y_NCHW: images, float32.
        factor: how many times larger the result is.

    Returns:
        Images of factor * H x factor * W pixels, of the same range.
    """
    return y_NCHW.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def bicubic(y_NCHW: Tensor, factor: int) -> Tensor:
    """Bicubic upsampling, pixel areas aligned as in the downsampling step, as in MATLAB's imresize.

    On Set5 x2, downsampled by the degradation, that gives 33.69 dB on Y (border 2; published:
    33.66). PyTorch's own a = -0.75 sharpens: 33.98 dB.

    Args:
        y_NCHW: images, float32.
        factor: how many times larger the result is; 1 returns the images themselves.

    Returns:
        Images of factor * H x factor * W pixels; overshoots their range at edges.

    Source: Keys 1981, Cubic convolution interpolation for digital image processing, with a = -0.5.
    """
    if factor == 1:
        return y_NCHW
    size = (y_NCHW.shape[2] * factor, y_NCHW.shape[3] * factor)
    # Enlarging has nothing to antialias; the flag selects a = -0.5.
    return F.interpolate(y_NCHW, size=size, mode="bicubic", antialias=True, align_corners=False)


def _restore(
    restore: Baseline,
    upsample: Callable[[Tensor, int], Tensor],
    factor: int,
    y_NCHW: Tensor,
    hidden_N1HW: Tensor,
) -> Tensor:
    # Clipped once, at the end: noise that is clipped before it is averaged has a mean, which
    # brightens black areas.
    return upsample(restore(y_NCHW, hidden_N1HW), factor).clamp(0, 1)


def _shifts(padded_NCHW: Tensor, window: int) -> list[Tensor]:
    """The images under every position of a window, row by row."""
    height, width = padded_NCHW.shape[2] - window + 1, padded_NCHW.shape[3] - window + 1
    return [
        padded_NCHW[..., top : top + height, left : left + width]
        for top in range(window)
        for left in range(window)
    ]
