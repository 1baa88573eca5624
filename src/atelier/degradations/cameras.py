"""What a camera or a file format takes away: resolution, colour, and what JPEG does not keep.

Shape suffixes: B batch, C channels, H height, W width, h, w sides after the step.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from atelier.degradations.step import DrawnInt, Randomness, Step, draw_nothing, uniform_int

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as in JPEG and Pillow's mode L


def _check_divisible(height: int, width: int, factor: int) -> None:
    if height % factor or width % factor:
        raise ValueError(
            f"degradation: downsample.factor = {factor} does not divide images of {height}x{width} "
            "pixels; "
            "crop them to a multiple first, so that the restored image has the size of the clean "
            "one."
        )


def _apply_downsample(x_BCHW: Tensor, randomness: Randomness, factor: int) -> Tensor:
    """Keys' kernel with a = -0.5, widened by the factor.

    Imresize of MATLAB, but for some pixels along the border.

    MATLAB mirrors there, torch leaves out what lies outside. On Set5, enlarged by the same kernel,
    Y without a border of `factor` pixels, both give 33.68, 30.40 and 28.43 dB for x2, x3 and x4;
    published are 33.66, 30.39 and 28.42.
    """
    height, width = x_BCHW.shape[-2:]
    _check_divisible(height, width, factor)
    size = (height // factor, width // factor)
    return F.interpolate(x_BCHW, size=size, mode="bicubic", antialias=True, align_corners=False)


def _hide_downsampled(hidden_B1HW: Tensor, randomness: Randomness, factor: int) -> Tensor:
    """A pixel is hidden if any of the pixels under it was."""
    _check_divisible(hidden_B1HW.shape[2], hidden_B1HW.shape[3], factor)
    return F.max_pool2d(hidden_B1HW.float(), factor) > 0


def _factor(factor: int) -> int:
    return factor


def _apply_decolourise(x_BCHW: Tensor, randomness: Randomness) -> Tensor:
    """Three equal channels: a restorer then has as many in as out, and adds the colour."""
    if x_BCHW.shape[1] == 1:
        return x_BCHW
    weights_C11 = torch.tensor(LUMA, dtype=x_BCHW.dtype, device=x_BCHW.device)[:, None, None]
    return (x_BCHW * weights_C11).sum(dim=1, keepdim=True).expand_as(x_BCHW).contiguous()


def _draw_jpeg(shape_BCHW: torch.Size, generator: torch.Generator, quality: DrawnInt) -> Randomness:
    return (uniform_int(quality, shape_BCHW[:1], generator),)


def _apply_jpeg(x_BCHW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    pixels_BHWC = (x_BCHW.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    decoded = [
        _through_jpeg(pixels_HWC, quality)
        for pixels_HWC, quality in zip(pixels_BHWC, randomness[0].tolist(), strict=True)
    ]
    y_BHWC = torch.from_numpy(np.stack(decoded)).to(x_BCHW.device)
    return (y_BHWC.permute(0, 3, 1, 2) / 255).to(x_BCHW.dtype).contiguous()


def _through_jpeg(
    pixels_HWC: np.ndarray[Any, np.dtype[np.uint8]], quality: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The baseline codec of libjpeg as Pillow calls it.

    Standard tables, colour at half resolution (4:2:0).
    """
    file = io.BytesIO()
    grey = pixels_HWC.shape[2] == 1
    Image.fromarray(pixels_HWC[..., 0] if grey else pixels_HWC).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.array(image).reshape(pixels_HWC.shape)


DOWNSAMPLE = Step(draw_nothing, _apply_downsample, _hide_downsampled, _factor)
DECOLOURISE = Step(draw_nothing, _apply_decolourise)
# Clips and rounds its input to 8 bits, as a file does; y in [0, 1].
JPEG = Step(_draw_jpeg, _apply_jpeg, linear=False)
