"""Masks: boxes, brush strokes or single pixels become mid grey, in all channels alike.

Shape suffixes: B batch, C channels, H height, W width, N boxes or strokes of an image, P corners of
a stroke's path.
"""

from __future__ import annotations

import math
from typing import Any

import torch
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

MID_GREY = 0.5  # what a masked pixel holds
# A stroke is a path of so many straight parts, each of a quarter of the shorter side at most, that
# turns by up to 60 degrees between them. Free-form masks (Yu et al. 2019, arXiv:1806.03589, section
# 3.4), scaled to the image.
_NUM_PARTS = 4
_LONGEST_PART = 0.25
_LARGEST_TURN = math.pi / 3


def _draw_boxes(
    shape_BCHW: torch.Size, generator: torch.Generator, size: DrawnInt, count: DrawnInt = 1
) -> Randomness:
    """Square boxes, uniform over all positions inside the image; they may overlap."""
    num_images, _, height, width = shape_BCHW
    if largest(size) > min(height, width):
        raise ValueError(
            f"degradation: mask.size = {size} does not fit into images of {height}x{width} pixels."
        )
    shape_BN = (num_images, int(largest(count)))
    size_BN = uniform_int(size, shape_BN, generator)
    top_BN, left_BN = (_corner(side, size, size_BN, generator) for side in (height, width))
    size_BN = size_BN * _present(count, shape_BN, generator)
    rows_H1, columns_W = torch.arange(height)[:, None], torch.arange(width)
    hidden_BHW = torch.zeros(num_images, height, width, dtype=torch.bool)
    for box in range(shape_BN[1]):
        top_B11, left_B11, size_B11 = (
            values_BN[:, box, None, None] for values_BN in (top_BN, left_BN, size_BN)
        )
        inside_rows_BH1 = (rows_H1 >= top_B11) & (rows_H1 < top_B11 + size_B11)
        hidden_BHW |= inside_rows_BH1 & (columns_W >= left_B11) & (columns_W < left_B11 + size_B11)
    return (hidden_BHW.unsqueeze(1),)


def _corner(side: int, size: DrawnInt, size_BN: Tensor, generator: torch.Generator) -> Tensor:
    """Top rows or left columns of boxes, int64, uniform over 0, ..., side - size."""
    if isinstance(size, int):
        return torch.randint(side - size + 1, tuple(size_BN.shape), generator=generator)
    return (torch.rand(tuple(size_BN.shape), generator=generator) * (side - size_BN + 1)).long()


def _present(count: DrawnInt, shape_BN: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Which of the N boxes or strokes each image has."""
    return torch.arange(shape_BN[1]) < uniform_int(count, (shape_BN[0], 1), generator)


def _draw_strokes(
    shape_BCHW: torch.Size, generator: torch.Generator, width: Drawn, count: DrawnInt = 1
) -> Randomness:
    """Strokes of a round brush, each of its own width, which begin inside the image."""
    num_images, _, *sides = shape_BCHW
    shape_BN = (num_images, int(largest(count)))
    radius_BN = uniform(width, shape_BN, generator) / 2
    radius_BN = torch.where(
        _present(count, shape_BN, generator), radius_BN, -1.0
    )  # no pixel is that near
    start_BN12 = torch.rand(*shape_BN, 1, 2, generator=generator) * (torch.tensor(sides) - 1)
    length_BNP = torch.rand(*shape_BN, _NUM_PARTS, generator=generator) * _LONGEST_PART * min(sides)
    turn_BNP = (2 * torch.rand(*shape_BN, _NUM_PARTS, generator=generator) - 1) * _LARGEST_TURN
    turn_BNP[..., 0] *= math.pi / _LARGEST_TURN  # the first direction is any
    angle_BNP = turn_BNP.cumsum(dim=2)
    part_BNP2 = torch.stack((angle_BNP.sin(), angle_BNP.cos()), dim=3) * length_BNP[..., None]
    path_BNP2 = torch.cat((start_BN12, start_BN12 + part_BNP2.cumsum(dim=2)), dim=2)
    pixels_HW2 = torch.stack(
        torch.meshgrid(*(torch.arange(side) for side in sides), indexing="ij"), dim=2
    ).float()
    hidden_BHW = torch.zeros(num_images, *sides, dtype=torch.bool)
    for stroke in range(shape_BN[1]):
        for part in range(_NUM_PARTS):
            ends_B2 = path_BNP2[:, stroke, part], path_BNP2[:, stroke, part + 1]
            hidden_BHW |= _distance(pixels_HW2, *ends_B2) <= radius_BN[:, stroke, None, None]
    return (hidden_BHW.unsqueeze(1),)


def _distance(pixels_HW2: Tensor, start_B2: Tensor, end_B2: Tensor) -> Tensor:
    """Distance of each pixel to the straight line between two points, BHW."""
    from_start_BHW2 = pixels_HW2 - start_B2[:, None, None]
    part_B112 = (end_B2 - start_B2)[:, None, None]
    length2_B11 = part_B112.square().sum(dim=3).clamp(min=1e-12)
    along_BHW = ((from_start_BHW2 * part_B112).sum(dim=3) / length2_B11).clamp(0, 1)
    offset_BHW2 = from_start_BHW2 - along_BHW[..., None] * part_B112
    return torch.hypot(offset_BHW2[..., 0], offset_BHW2[..., 1])


def _draw_pixels(shape_BCHW: torch.Size, generator: torch.Generator, fraction: Drawn) -> Randomness:
    fraction_B111 = uniform(fraction, (shape_BCHW[0], 1, 1, 1), generator)
    return (torch.rand(shape_BCHW[0], 1, *shape_BCHW[2:], generator=generator) < fraction_B111,)


def _apply_mask(x_BCHW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    return x_BCHW.masked_fill(randomness[0].to(x_BCHW.device), MID_GREY)


def _hide_masked(hidden_B1HW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    return hidden_B1HW | randomness[0]


BOXES = Step(_draw_boxes, _apply_mask, _hide_masked)
STROKES = Step(_draw_strokes, _apply_mask, _hide_masked)
MISSING_PIXELS = Step(_draw_pixels, _apply_mask, _hide_masked)
