"""The forward model y = noise(A(x)): how a clean image becomes a degraded one.

A degradation is a sequence of one-key mappings, applied in their order, e.g.
`[{"gaussian_blur": {"sigma": [0.5, 2.0]}}, {"downsample": {"factor": 2}}, {"noise": {"sigma":
0.1}}]`; a parameter is a number, or a range from which each image draws its own. Each step is split
in two: `draw` makes all its randomness, `apply` is a deterministic function of the images and that
randomness. So the same code degrades a batch from one generator (training) and each image from its
own seed (evaluation: no result may depend on the batch).

Every step takes images of any height and width (`downsample`: multiples of its factor) with 1 or 3
channels.

Shape suffixes: B batch, C channels, H height, W width, h, w sides after the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from atelier.degradations import blur, cameras, masks, noise
from atelier.degradations.masks import MID_GREY
from atelier.degradations.step import Randomness, Step

__all__ = [
    "MID_GREY",
    "STEPS",
    "Steps",
    "adjoint",
    "degrade",
    "degrade_fixed",
    "degrade_with_level",
    "hidden_pixels",
    "noise_levels",
    "upscale_of",
]

Steps = Sequence[Mapping[str, Mapping[str, Any]]]

STEPS: dict[str, Step] = {
    "noise": noise.GAUSSIAN,
    "poisson": noise.POISSON,
    "salt_and_pepper": noise.SALT_AND_PEPPER,
    "speckle": noise.SPECKLE,
    "gaussian_blur": blur.GAUSSIAN,
    "box_blur": blur.BOX,
    "motion_blur": blur.MOTION,
    "kernel_blur": blur.FROM_FILE,
    "mask": masks.BOXES,
    "strokes": masks.STROKES,
    "missing_pixels": masks.MISSING_PIXELS,
    "downsample": cameras.DOWNSAMPLE,
    "jpeg": cameras.JPEG,
    "decolourise": cameras.DECOLOURISE,
}


def _parse(steps: Steps) -> list[tuple[Step, dict[str, Any]]]:
    parsed = []
    for position, step in enumerate(steps):
        if len(step) != 1:
            raise ValueError(
                f"degradation[{position}] = {dict(step)} must have one key, one of {sorted(STEPS)}."
            )
        ((name, kwargs),) = step.items()
        if name not in STEPS:
            raise ValueError(f"degradation[{position}] = {name!r} is not one of {sorted(STEPS)}.")
        parsed.append((STEPS[name], dict(kwargs)))
    return parsed


def _draw_per_image(shape_BCHW: torch.Size, steps: Steps, seeds: Sequence[int]) -> list[Randomness]:
    """The randomness of every step, each image's from its own seed."""
    num_images, channels, height, width = shape_BCHW
    if num_images != len(seeds):
        raise ValueError(
            f"{num_images} images were given with {len(seeds)} seeds; each image needs its own."
        )
    parsed = []
    for step, kwargs in _parse(steps):
        parsed.append((step, kwargs, torch.Size((1, channels, height, width))))
        factor = step.upscale(**kwargs)
        height, width = height // factor, width // factor
    drawn: list[list[Randomness]] = [[] for _ in parsed]
    generator = torch.Generator()
    for seed in seeds:
        generator.manual_seed(seed)
        for draws, (step, kwargs, shape_1CHW) in zip(drawn, parsed, strict=True):
            draws.append(step.draw(shape_1CHW, generator, **kwargs))
    return [tuple(torch.cat(parts) for parts in zip(*draws, strict=True)) for draws in drawn]


def degrade(x_BCHW: Tensor, steps: Steps, generator: torch.Generator) -> Tensor:
    """Degrades a batch with fresh randomness, for training.

    Args:
        x_BCHW: clean images, float32 in [0, 1].
        steps: the degradation, one-key mappings.
        generator: source of all randomness, on the CPU, so that every device sees the same
            degradation.

    Returns:
        y_BChw: degraded images; noise is not clipped, so they may leave [0, 1], as bicubic
            downsampling may a little.

    Raises:
        ValueError: if a step is unknown or does not fit the size of the images.
    """
    y_BCHW, _ = _degraded(x_BCHW, steps, generator)
    return y_BCHW


def degrade_with_level(
    x_BCHW: Tensor, steps: Steps, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`degrade`, and the noise level that a restorer with a noise-level input is told.

    Returns:
        The same y_BChw from the same generator, and sigma_B, the standard deviation of each image's
        Gaussian noise.

    Raises:
        ValueError: as `degrade`, and if the last step is not `noise`: a later one would change its
            level.
    """
    y_BCHW, drawn = _degraded(x_BCHW, steps, generator)
    return y_BCHW, _level(steps, drawn)


def _degraded(
    x_BCHW: Tensor, steps: Steps, generator: torch.Generator
) -> tuple[Tensor, list[Randomness]]:
    y_BCHW, drawn = x_BCHW, []
    for step, kwargs in _parse(steps):
        drawn.append(step.draw(y_BCHW.shape, generator, **kwargs))
        y_BCHW = step.apply(y_BCHW, drawn[-1], **kwargs)
    return y_BCHW, drawn


def _level(steps: Steps, drawn: Sequence[Randomness]) -> Tensor:
    if not steps or "noise" not in steps[-1]:
        raise ValueError(
            "degradation: the noise level is known only where `noise` is the last step."
        )
    return drawn[-1][1]


def degrade_fixed(x_BCHW: Tensor, steps: Steps, seeds: Sequence[int]) -> Tensor:
    """Degrades each image with randomness from its own seed alone, for evaluation.

    Args:
        x_BCHW: clean images, float32 in [0, 1].
        steps: the degradation, one-key mappings.
        seeds: one seed an image, from -2^63 to 2^64 - 1; the same image and seed give the same
            result in every batch.

    Returns:
        y_BChw: degraded images; noise is not clipped, so they may leave [0, 1].

    Raises:
        ValueError: if a step is unknown or does not fit the size of the images, or images and seeds
            differ in number.
    """
    return _applied(x_BCHW, steps, _draw_per_image(x_BCHW.shape, steps, seeds))


def _applied(x_BCHW: Tensor, steps: Steps, drawn: Sequence[Randomness]) -> Tensor:
    y_BCHW = x_BCHW
    for (step, kwargs), randomness in zip(_parse(steps), drawn, strict=True):
        y_BCHW = step.apply(y_BCHW, randomness, **kwargs)
    return y_BCHW


def noise_levels(shape_BCHW: torch.Size, steps: Steps, seeds: Sequence[int]) -> Tensor:
    """sigma_B, the standard deviation of the noise that `degrade_fixed` adds to each image.

    Raises:
        ValueError: if the last step is not `noise`.
    """
    return _level(steps, _draw_per_image(shape_BCHW, steps, seeds))


def adjoint(v_BChw: Tensor, shape_BCHW: torch.Size, steps: Steps, seeds: Sequence[int]) -> Tensor:
    """A'v, where `degrade_fixed` with these seeds is A x + c: <A x, v> = <x, A'v> for all x and v.

    Args:
        v_BChw: images of the degraded size.
        shape_BCHW: shape of the clean images.
        steps: the degradation, one-key mappings of linear steps: all but `poisson` and `jpeg`.
            Noise, grains and masks are part of A and c once they are drawn.
        seeds: those given to `degrade_fixed`.

    Returns:
        At_v_BCHW, of the type of `v_BChw`.

    Raises:
        ValueError: if a step is not linear.
    """
    for position, (name, step) in enumerate((name, STEPS[name]) for item in steps for name in item):
        if not step.linear:
            raise ValueError(
                f"degradation[{position}]: {name!r} is not linear, so it has no adjoint."
            )
    # The transposed Jacobian of what `apply` really does, border and rounding included, so the two
    # can't drift apart.
    with torch.enable_grad():
        x_BCHW = torch.zeros(
            shape_BCHW, dtype=v_BChw.dtype, device=v_BChw.device, requires_grad=True
        )
        y_BChw = _applied(x_BCHW, steps, _draw_per_image(shape_BCHW, steps, seeds))
        (At_v_BCHW,) = torch.autograd.grad(y_BChw, x_BCHW, v_BChw)
    return At_v_BCHW


def hidden_pixels(shape_BCHW: torch.Size, steps: Steps, seeds: Sequence[int]) -> Tensor:
    """Which pixels `degrade_fixed` hides under masks, for baselines that are told the hole.

    Args:
        shape_BCHW: shape of the clean images.
        steps: the degradation, one-key mappings.
        seeds: those given to `degrade_fixed`.

    Returns:
        hidden_B1hw: bool, True where the degraded image is masked; all False without a mask step.
    """
    hidden_B1HW = torch.zeros(shape_BCHW[0], 1, *shape_BCHW[2:], dtype=torch.bool)
    for (step, kwargs), randomness in zip(
        _parse(steps), _draw_per_image(shape_BCHW, steps, seeds), strict=True
    ):
        hidden_B1HW = step.hide(hidden_B1HW, randomness, **kwargs)
    return hidden_B1HW


def upscale_of(steps: Steps) -> int:
    """How many times larger than the degraded image the clean one is.

    The product of all downsampling factors.
    """
    upscale = 1
    for step, kwargs in _parse(steps):
        upscale *= step.upscale(**kwargs)
    return upscale
