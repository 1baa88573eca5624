"""How strongly each image was degraded, where the strength is drawn from a range.

For slices of the scores.

Not part of `atelier.degradations` itself: a training must not depend on how its result is sliced.
Shape suffixes: B images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atelier.degradations import STEPS, Steps
from atelier.degradations.step import uniform, uniform_int

NUM_PARTS = 3
# Of each step the parameter that says how strong it is. All of them are the first that their step
# draws.
STRENGTHS = {
    "noise": "sigma",
    "poisson": "peak",
    "salt_and_pepper": "fraction",
    "speckle": "sigma",
    "gaussian_blur": "sigma",
    "box_blur": "radius",
    "motion_blur": "length",
    "mask": "size",
    "strokes": "width",
    "missing_pixels": "fraction",
    "jpeg": "quality",
}


@dataclass(frozen=True)
class Levels:
    """The first strength of a degradation that is drawn from a range, in equal parts of this range.

    Attributes:
        position: of its step.
        kind: of its step.
        parameter: its name.
        low: of the range.
        high: of the range.
    """

    position: int
    kind: str
    parameter: str
    low: float
    high: float

    @property
    def names(self) -> list[str]:
        """Of the parts, from the lowest on, such as `noise.sigma 0.05-0.1`."""
        edges = [f"{edge:.3g}" for edge in np.linspace(self.low, self.high, NUM_PARTS + 1)]
        return [
            f"{self.kind}.{self.parameter} {edges[part]}-{edges[part + 1]}"
            for part in range(NUM_PARTS)
        ]

    def parts_B(
        self, shape_BCHW: torch.Size, steps: Steps, seeds: Sequence[int]
    ) -> NDArray[np.int64]:
        """Which part each image is in, of those that `degrade_fixed` makes of steps and seeds.

        Args:
            shape_BCHW: shape of the clean images.
            steps: the degradation that `levels_of` was asked about.
            seeds: those given to `degrade_fixed`.

        Returns:
            parts_B: 0, ..., 2, positions in `names`.
        """
        drawn_B = np.array(
            [self._drawn(torch.Size((1, *shape_BCHW[1:])), steps, seed) for seed in seeds]
        )
        parts_B = (drawn_B - self.low) / (self.high - self.low) * NUM_PARTS
        return parts_B.astype(np.int64).clip(0, NUM_PARTS - 1)

    def _drawn(self, shape_1CHW: torch.Size, steps: Steps, seed: int) -> float:
        """What `degrade_fixed` draws for an image.

        The same calls of the generator, up to this one.
        """
        generator = torch.Generator().manual_seed(seed)
        for step in steps[: self.position]:
            ((kind, kwargs),) = step.items()
            STEPS[kind].draw(shape_1CHW, generator, **kwargs)
            factor = STEPS[kind].upscale(**kwargs)
            shape_1CHW = torch.Size(
                (*shape_1CHW[:2], shape_1CHW[2] // factor, shape_1CHW[3] // factor)
            )
        given: Any = steps[self.position][self.kind][self.parameter]
        draw = uniform_int if isinstance(given[0], int) and isinstance(given[1], int) else uniform
        return float(draw(given, (1,), generator))


def levels_of(steps: Steps) -> Levels | None:
    """The levels of a degradation; None if no image differs from another in strength.

    Of masks and strokes only where an image has one of them: each has a size of its own.

    Args:
        steps: the degradation, one-key mappings.
    """
    for position, step in enumerate(steps):
        for kind, kwargs in step.items():
            drawn = _strength(kind, kwargs)
            if drawn is not None:
                return Levels(position, kind, STRENGTHS[kind], *drawn)
    return None


def _strength(kind: str, kwargs: Mapping[str, Any]) -> tuple[float, float] | None:
    value = kwargs.get(STRENGTHS.get(kind, ""))
    if not isinstance(value, (list, tuple)) or kwargs.get("count", 1) != 1:
        return None
    low, high = value
    return float(low), float(high)
