"""Random changes of training images: more to learn from little data.

Nothing of this is done in evaluation.

All of it is a function of the images and the generator alone; what is switched off draws nothing.
Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from atelier.params import Augment

CUTOUT_FILL = 0.5  # mid grey: zero in the centred images of the source


def augmented(x_BCHW: Tensor, augment: Augment, rng: torch.Generator) -> Tensor:
    """Change each image at random as its training's parameters ask for.

    Args:
        x_BCHW: float32 in [0, 1].
        augment: what to do; by default nothing.
        rng: source of all randomness, on the CPU, so that every device sees the same images.

    Returns:
        Images of the same shape and range, channels_last.
    """
    if augment.flip:
        x_BCHW = chosen(torch.rand(len(x_BCHW), generator=rng) < 0.5, x_BCHW.flip(-1), x_BCHW)
    if augment.quarter_turns:
        x_BCHW = quarter_turned(x_BCHW, torch.randint(4, (len(x_BCHW),), generator=rng))
    if augment.rotate:
        degrees_B = (2 * torch.rand(len(x_BCHW), generator=rng) - 1) * augment.rotate
        x_BCHW = _rotated(x_BCHW, degrees_B.to(x_BCHW.device))
    if augment.crop:
        shifts_B2 = torch.randint(-augment.crop, augment.crop + 1, (len(x_BCHW), 2), generator=rng)
        x_BCHW = _shifted(x_BCHW, shifts_B2.to(x_BCHW.device))
    if augment.cutout:
        x_BCHW = _cut_out(
            x_BCHW, torch.rand(len(x_BCHW), 2, generator=rng).to(x_BCHW.device), augment.cutout
        )
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def chosen(choice_B: Tensor, yes_BCHW: Tensor, no_BCHW: Tensor) -> Tensor:
    """For each image one of two versions of it."""
    return torch.where(choice_B.to(no_BCHW.device)[:, None, None, None], yes_BCHW, no_BCHW)


def quarter_turned(x_BCHW: Tensor, turns_B: Tensor) -> Tensor:
    """Turn each square image by 0 to 3 quarters: one, or two, or one after two."""
    x_BCHW = chosen(turns_B >= 2, x_BCHW.flip((-2, -1)), x_BCHW)
    return chosen(turns_B % 2 == 1, x_BCHW.rot90(1, (-2, -1)), x_BCHW)


def _rotated(x_BCHW: Tensor, degrees_B: Tensor) -> Tensor:
    """Turn each image about its centre, bilinear; what comes in over the border is mirrored."""
    height, width = x_BCHW.shape[-2:]
    cos_B, sin_B = torch.cos(degrees_B * math.pi / 180), torch.sin(degrees_B * math.pi / 180)
    zeros_B = torch.zeros_like(cos_B)
    # In grid_sample's units both sides are 2 long, so a turn by pixels needs the sides' ratio.
    first_B3 = torch.stack([cos_B, -sin_B * height / width, zeros_B], dim=1)
    second_B3 = torch.stack([sin_B * width / height, cos_B, zeros_B], dim=1)
    grid = F.affine_grid(
        torch.stack([first_B3, second_B3], dim=1), list(x_BCHW.shape), align_corners=False
    )
    return F.grid_sample(
        x_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _shifted(x_BCHW: Tensor, shifts_B2: Tensor) -> Tensor:
    """What a crop of the same size shows after padding by reflection (the edge is not repeated)."""
    height, width = x_BCHW.shape[-2:]
    rows_BH = _reflected(torch.arange(height, device=x_BCHW.device) + shifts_B2[:, :1], height)
    columns_BW = _reflected(torch.arange(width, device=x_BCHW.device) + shifts_B2[:, 1:], width)
    images_B11 = torch.arange(len(x_BCHW), device=x_BCHW.device)[:, None, None]
    x_BHWC = x_BCHW.permute(0, 2, 3, 1)[images_B11, rows_BH[:, :, None], columns_BW[:, None, :]]
    return x_BHWC.permute(0, 3, 1, 2)


def _reflected(positions: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def _cut_out(x_BCHW: Tensor, places_B2: Tensor, size: int) -> Tensor:
    """Fill a box of `size` pixels about a point of each image; over the border it is cut.

    Source: DeVries & Taylor 2017, arXiv:1708.04552 (any pixel may be the centre, section 3.2).
    """
    height, width = x_BCHW.shape[-2:]
    inside_BH = in_box(places_B2[:, :1], height, size)
    inside_BW = in_box(places_B2[:, 1:], width, size)
    return x_BCHW.masked_fill(
        (inside_BH[:, :, None] & inside_BW[:, None, :]).unsqueeze(1), CUTOUT_FILL
    )


def in_box(place_B1: Tensor, length: int, size: int) -> Tensor:
    """Which of `length` positions lie in a box of `size` pixels about a place in [0, 1)."""
    first_B1 = (place_B1 * length).long() - size // 2
    positions = torch.arange(length, device=place_B1.device)
    return (positions >= first_B1) & (positions < first_B1 + size)
