"""Denoisers of other packages that a learned one should beat, where these are installed.

Too slow for all test images.

What is installed differs between machines, so nothing here enters a score that a gate may ask for:
see docs/decisions/0011-baselines.md.

Shape suffixes: H and W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.degradations import Steps

Values = NDArray[np.float64]

_NOISES = {
    "noise",
    "poisson",
    "speckle",
}  # what has a standard deviation everywhere, if not the same one


@dataclass(frozen=True)
class Denoiser:
    """One of them.

    Attributes:
        restore: (y_HWC, sigma) -> x_hat_HWC; both in units of the image range, neither clipped.
        num_images: so many test images it is scored on, for the sake of time.
        smallest: shortest side that it can work on, pixels.
        text: what it is, for the protocol.
    """

    restore: Callable[[Values, float], Values]
    num_images: int
    smallest: int
    text: str


def denoisers_for(steps: Steps) -> dict[str, Denoiser]:
    """Those that are installed, by name, if all that a degradation does is to add noise."""
    if not {kind for step in steps for kind in step} <= _NOISES:
        return {}
    found = {"nlm": _non_local_means(), "bm3d": _bm3d()}
    return {name: denoiser for name, denoiser in found.items() if denoiser is not None}


def known_sigma(steps: Steps) -> float | None:
    """The standard deviation of the noise, if it is the same in every image and pixel."""
    if (
        len(steps) != 1
        or "noise" not in steps[0]
        or not isinstance(steps[0]["noise"]["sigma"], (int, float))
    ):
        return None
    return float(steps[0]["noise"]["sigma"])


def estimated_sigma(y_HWC: Values) -> float:
    """Standard deviation of the white noise in an image.

    Of second differences, near zero in pictures, the median.

    Args:
        y_HWC: at least 2 x 2 pixels.

    Source: Donoho and Johnstone 1994, doi:10.1093/biomet/81.3.425, section 4.2; here a Haar wavelet
    at every position.
    """
    detail = np.diff(np.diff(y_HWC, axis=0), axis=1)  # of standard deviation 2 sigma
    return float(np.median(np.abs(detail)) / (2 * 0.6745))  # median of |N(0, 1)|


def _non_local_means() -> Denoiser | None:
    """Non-local means by scikit-image.

    Patches of 5 x 5 within 13 x 13, as in its gallery. Its gallery's h is 0.6 or 0.8 sigma; on
    Set12 0.6 is better.
    Source: Buades et al. 2005, doi:10.1109/CVPR.2005.38; fast form: Darbon et al. 2008,
    doi:10.1109/ISBI.2008.4541250.
    """
    skimage = _imported("skimage.restoration")
    if skimage is None:
        return None

    def restore(y_HWC: Values, sigma: float) -> Values:
        found = skimage.denoise_nl_means(
            y_HWC,
            patch_size=5,
            patch_distance=6,
            h=0.6 * sigma,
            sigma=sigma,
            fast_mode=True,
            channel_axis=-1,
        )
        return np.asarray(found).reshape(y_HWC.shape)  # it drops an axis of one channel

    text = f"scikit-image {version('scikit-image')}, patches of 5, distance 6, h 0.6 sigma"
    return Denoiser(restore, num_images=100, smallest=5, text=text)


def _bm3d() -> Denoiser | None:
    """BM3D by its authors' package; for non-commercial use only, so it is never installed unasked.

    Source: Dabov et al. 2007, doi:10.1109/TIP.2007.901238; Makinen et al. 2020,
    doi:10.1109/TIP.2020.3014721.
    """
    bm3d = _imported("bm3d")
    if bm3d is None:
        return None

    def restore(y_HWC: Values, sigma: float) -> Values:
        profile = bm3d.BM3DProfile()
        profile.num_threads = 1  # several threads add in another order each time
        if y_HWC.shape[2] == 3:
            return np.asarray(bm3d.bm3d_rgb(y_HWC, sigma, profile))
        return np.asarray(bm3d.bm3d(y_HWC[..., 0], sigma, profile))[..., None]

    # It takes 0.6 s even for 28 x 28 pixels, and ends the process (segmentation fault) for 8 x 8.
    return Denoiser(restore, num_images=12, smallest=16, text=f"bm3d {version('bm3d')}, profile np")


def _imported(module: str) -> Any | None:
    """A module, if it is installed and runs on this machine."""
    try:
        return import_module(module)
    except (ImportError, OSError):  # OSError: bm3d's shared library is of another platform
        return None
