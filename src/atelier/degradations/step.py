"""What one kind of degradation is made of, and how its parameters are drawn.

Shape suffixes: B batch, C channels, H height, W width, h, w sides after the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

# What `draw` makes: tensors whose first dimension is B.
Randomness = tuple[Tensor, ...]
# A parameter: fixed, or [low, high], from which each image draws its own.
Drawn = float | Sequence[float]
DrawnInt = int | Sequence[int]


def _keep_size(**kwargs: Any) -> int:
    return 1


def _hide_nothing(hidden_B1HW: Tensor, randomness: Randomness, **kwargs: Any) -> Tensor:
    return hidden_B1HW


class Step(NamedTuple):
    """One kind of degradation; the keyword arguments are the values under its key.

    Attributes:
        draw: (shape_BCHW of its input, generator, **kwargs) -> its randomness.
        apply: (x_BCHW, randomness, **kwargs) -> y_BChw.
        hide: (hidden_B1HW, randomness, **kwargs) -> hidden_B1hw, the pixels that hold nothing of
            the image any more.
        upscale: (**kwargs) -> how many times larger than its output its input is.
        linear: whether `apply` is A x + c once its randomness is drawn, and so has an adjoint.
    """

    draw: Callable[..., Randomness]
    apply: Callable[..., Tensor]
    hide: Callable[..., Tensor] = _hide_nothing
    upscale: Callable[..., int] = _keep_size
    linear: bool = True


def draw_nothing(shape_BCHW: torch.Size, generator: torch.Generator, **kwargs: Any) -> Randomness:
    """The randomness of a step that has none."""
    return ()


def largest(value: Drawn) -> float:
    """The largest value that a parameter can take."""
    return value if isinstance(value, (int, float)) else max(value)


def uniform(value: Drawn, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Values of a parameter, float32: uniform in [low, high], or all the same where it is fixed."""
    if isinstance(value, (int, float)):
        return torch.full(tuple(shape), float(value))
    low, high = value
    return low + (high - low) * torch.rand(tuple(shape), generator=generator)


def uniform_int(value: DrawnInt, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Values of a whole-numbered parameter, int64.

    Low, ..., high alike, or all the same where it is fixed.
    """
    if isinstance(value, int):
        return torch.full(tuple(shape), value)
    low, high = value
    return torch.randint(low, high + 1, tuple(shape), generator=generator)
