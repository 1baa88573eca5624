"""Noise: Gaussian, Poisson, salt and pepper, speckle. Nothing is clipped: clipped noise has a mean.

Shape suffixes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atelier.degradations.step import Drawn, Randomness, Step, uniform

_KEPT, _PEPPER, _SALT = 0, 1, 2


def _draw_gaussian(shape_BCHW: torch.Size, generator: torch.Generator, sigma: Drawn) -> Randomness:
    """The noise, and its standard deviation in each image."""
    sigma_B = uniform(sigma, shape_BCHW[:1], generator)
    return torch.randn(shape_BCHW, generator=generator) * sigma_B[:, None, None, None], sigma_B


def _apply_gaussian(x_BCHW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    return x_BCHW + randomness[0].to(x_BCHW.device)


def _draw_speckle(shape_BCHW: torch.Size, generator: torch.Generator, sigma: Drawn) -> Randomness:
    return _draw_gaussian(shape_BCHW, generator, sigma)[:1]


def _apply_speckle(x_BCHW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    return x_BCHW * (1 + randomness[0].to(x_BCHW.device))


def _draw_poisson(shape_BCHW: torch.Size, generator: torch.Generator, peak: Drawn) -> Randomness:
    """The peak of each image, and the seed of its counts.

    They depend on its pixels, which are not known yet.
    """
    return (
        uniform(peak, shape_BCHW[:1], generator),
        torch.randint(2**63 - 1, tuple(shape_BCHW[:1]), generator=generator),
    )


def _apply_poisson(x_BCHW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    peak_B111, seeds_B = randomness[0][:, None, None, None], randomness[1]
    # On the CPU, image by image in one memory layout: counts must not depend on the device or on
    # the batch.
    rates_BCHW = (x_BCHW.cpu() * peak_B111).clamp(min=0).contiguous()
    generator, counts = torch.Generator(), []
    for rate_CHW, seed in zip(rates_BCHW, seeds_B.tolist(), strict=True):
        counts.append(torch.poisson(rate_CHW, generator=generator.manual_seed(seed)))
    return (torch.stack(counts) / peak_B111).to(x_BCHW.device)


def _draw_salt_and_pepper(
    shape_BCHW: torch.Size, generator: torch.Generator, fraction: Drawn
) -> Randomness:
    fraction_B111 = uniform(fraction, shape_BCHW[:1], generator)[:, None, None, None]
    u_BCHW = torch.rand(shape_BCHW, generator=generator)
    grain_BCHW = torch.full(tuple(shape_BCHW), _KEPT, dtype=torch.int8)
    grain_BCHW[u_BCHW < fraction_B111] = _SALT
    grain_BCHW[u_BCHW < fraction_B111 / 2] = _PEPPER
    return (grain_BCHW,)


def _apply_salt_and_pepper(x_BCHW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    grain_BCHW = randomness[0].to(x_BCHW.device)
    return x_BCHW.masked_fill(grain_BCHW == _PEPPER, 0.0).masked_fill(grain_BCHW == _SALT, 1.0)


# y = x + n, n ~ N(0, sigma^2).
GAUSSIAN = Step(_draw_gaussian, _apply_gaussian)
# y = x (1 + n), n ~ N(0, sigma^2): multiplicative noise, as of coherent light.
SPECKLE = Step(_draw_speckle, _apply_speckle)
# y = k / peak, k ~ Poisson(peak x): photon counts, `peak` of them where x = 1; y >= 0. What is
# below 0 counts as 0.
POISSON = Step(_draw_poisson, _apply_poisson, linear=False)
# Half of `fraction` of all values, each channel by itself, become 0, the other half 1.
SALT_AND_PEPPER = Step(_draw_salt_and_pepper, _apply_salt_and_pepper)
