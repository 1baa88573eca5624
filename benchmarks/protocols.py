"""The published protocols of three tasks on grey pictures, to the last rounding.

What is given to a restorer, and PSNR.

A PSNR can only be compared with one of the same protocol: luma for grey alone moves it by 0.6 dB.
Shapes: H, W pixels, h, w of the smaller picture. Pictures are uint8; what a restorer is given and
gives is float64 around [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from atelier.data.sources.signatures import PICTURE_ENDINGS
from atelier.degradations import degrade_fixed
from atelier.metrics.denoisers import Denoiser
from atelier.metrics.pixel_protocol import PixelProtocol
from atelier.metrics.pixels import luma_N1HW, psnr_N

Grey = NDArray[np.uint8]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """One protocol.

    Attributes:
        clean: the part of a picture file that is restored and scored.
        degrade: what the restorer is given.
        baseline: what costs nothing, of the clean picture's size.
        scored: what is done to pictures before they are compared.
        upscale: how many times larger the clean picture is.
        sigma: standard deviation of the noise in [0, 1], for restorers that are told; None: there
            is none.
        named: the baseline's name.
    """

    clean: Callable[[Image.Image], Grey]
    degrade: Callable[[Grey], Values]
    baseline: Callable[[Values], Values]
    named: str
    scored: PixelProtocol = PixelProtocol(round=True)
    upscale: int = 1
    sigma: float | None = None


def denoising(sigma: float) -> Task:
    """Gaussian noise of standard deviation `sigma` of 255, not clipped.

    Of numpy's seed 0 anew for each picture.

    Source: KAIR, main_test_dncnn.py, whose weights reproduce the table of DnCNN (arXiv:1608.03981)
    to 0.01 dB.
    """

    def degrade(x_HW: Grey) -> Values:
        return x_HW / 255 + np.random.RandomState(0).normal(0, sigma / 255, x_HW.shape)

    return Task(grey, degrade, lambda y_HW: y_HW, "noisy", sigma=sigma / 255)


def enlarging(factor: int) -> Task:
    """Downscaling of luma by MATLAB's imresize, a border of `factor` pixels left out.

    Source: Dong et al. 2014 (SRCNN), arXiv:1501.00092, and its test code; bicubic on Set5 x2 is
    33.66 dB.
    """
    return Task(
        lambda image: cut_to_multiple(luma(image), factor),
        lambda x_HW: resized(x_HW / 255, 1 / factor),
        lambda y_hw: resized(y_hw, factor),
        "bicubic",
        PixelProtocol(round=True, border=factor),
        upscale=factor,
    )


def deblocking(quality: int) -> Task:
    """JPEG of grey pictures.

    Source: Dong et al. 2015 (ARCNN), arXiv:1504.06993; Zhang et al. 2017, arXiv:1608.03981, table
    IV.
    """

    def degrade(x_HW: Grey) -> Values:
        x_11HW = torch.tensor(x_HW)[None, None] / 255
        return degrade_fixed(x_11HW, [{"jpeg": {"quality": quality}}], [0])[0, 0].double().numpy()

    return Task(grey, degrade, lambda y_HW: y_HW, "JPEG")


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_ENDINGS)


def grey(image: Image.Image) -> Grey:
    """A picture in grey, uint8 HW."""
    return np.asarray(image.convert("L"))


def luma(image: Image.Image) -> Grey:
    """Y of YCbCr in [16, 235], rounded, as MATLAB's rgb2ycbcr gives it.

    A grey picture is taken as it is.
    """
    if image.mode == "L":
        return np.asarray(image)
    x_3HW = np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255
    return (luma_N1HW(x_3HW[None])[0, 0] * 255).round().astype(np.uint8)


def cut_to_multiple(x_HW: Grey, factor: int) -> Grey:
    """Without the last rows and columns that are no multiple of `factor`."""
    height, width = (side // factor * factor for side in x_HW.shape)
    return x_HW[:height, :width]


def resized(x_HW: Values, scale: float) -> Values:
    """Bicubic, as MATLAB's imresize: antialiased where it gets smaller, the border mirrored.

    Not clipped.
    """
    rows_hH, columns_wW = (_resizing(side, scale) for side in x_HW.shape)
    return rows_hH @ x_HW @ columns_wW.T


def _resizing(side: int, scale: float) -> Values:
    """Which share of each old pixel goes into each new one.

    Source: Keys 1981 with a = -0.5; the kernel is stretched by the scale, MATLAB's documentation of
    imresize.
    """
    stretch = min(1.0, scale)
    centres_n = (np.arange(round(side * scale)) + 0.5) / scale - 0.5
    places_nk = np.floor(centres_n - 2 / stretch)[:, None] + np.arange(
        int(np.ceil(4 / stretch)) + 2
    )
    weights_nk = keys((centres_n[:, None] - places_nk) * stretch)
    weights_nk /= weights_nk.sum(axis=1, keepdims=True)
    mirrored_nk = places_nk.astype(np.int64) % (2 * side)
    mirrored_nk = np.minimum(mirrored_nk, 2 * side - 1 - mirrored_nk)
    matrix = np.zeros((len(centres_n), side))
    np.add.at(matrix, (np.arange(len(centres_n))[:, None], mirrored_nk), weights_nk)
    return matrix


def keys(distance: Values) -> Values:
    """Keys' cubic kernel, eq. 15."""
    d = np.abs(distance)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def baseline_psnr(y_hw: Values, x_HW: Grey, task: Task) -> float:
    """Of the task's baseline; noise is neither clipped nor rounded (that would give 0.2 dB)."""
    scored = task.scored if task.sigma is None else replace(task.scored, clip=False, round=False)
    return psnr(task.baseline(y_hw), x_HW, scored)


def psnr(x_hat_HW: Values, x_HW: Grey, scored: PixelProtocol) -> float:
    """Peak signal-to-noise ratio in dB of a restored picture.

    Raises:
        EvaluationError: if the sizes differ.
    """
    return float(psnr_N(x_hat_HW[None, None], x_HW[None, None] / 255, scored)[0])


def denoised(denoiser: Denoiser, y_HW: Values, task: Task) -> Values:
    """What a classical denoiser, told the noise, makes of a picture."""
    assert task.sigma is not None
    return denoiser.restore(y_HW[..., None], task.sigma)[..., 0]


@torch.inference_mode()
def estimates(network: Any, y_hw: Values, task: Task) -> list[Values]:
    """What a restorer makes of a picture.

    The estimate of each of its iterations, or its only one.
    """
    told = {"sigma": task.sigma} if network.noise_level else {}
    given = torch.from_numpy(y_hw[None, None].astype(np.float32)).to(
        next(network.parameters()).device
    )
    return [x_hat[0, 0].double().cpu().numpy() for x_hat in network.estimates(given, **told)]
