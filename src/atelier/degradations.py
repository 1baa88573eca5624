"""The forward model y = noise(A(x)): how a clean image becomes a degraded one.

A degradation is a sequence of one-key mappings, applied in their order, e.g.
`[{"downsample": {"factor": 2}}, {"noise": {"sigma": 0.1}}]`. Each step is split in two: `draw` makes all its
randomness, `apply` is a deterministic function of the images and that randomness. So the same code degrades a batch
from one generator (training) and each image from its own seed (evaluation: no result may depend on the batch).

Shape suffixes: B batch, C channels, H height, W width, h, w sides after the step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Steps = Sequence[Mapping[str, Mapping[str, Any]]]

MID_GREY = 0.5  # what a masked pixel holds


class Step(NamedTuple):
    """One kind of degradation; the keyword arguments are the values under its key.

    Attributes:
        draw: (shape_BCHW of its input, generator, **kwargs) -> its randomness, first dimension B.
        apply: (x_BCHW, randomness, **kwargs) -> y_BChw.
        hide: (hidden_B1HW, randomness, **kwargs) -> hidden_B1hw, the pixels that hold nothing of the image any more.
        upscale: (**kwargs) -> how many times larger than its output its input is.
    """

    draw: Callable[..., Tensor]
    apply: Callable[..., Tensor]
    hide: Callable[..., Tensor]
    upscale: Callable[..., int]


def _draw_noise(shape_BCHW: torch.Size, generator: torch.Generator, sigma: float) -> Tensor:
    return torch.randn(shape_BCHW, generator=generator) * sigma


def _apply_noise(x_BCHW: Tensor, noise_BCHW: Tensor, sigma: float) -> Tensor:
    return x_BCHW + noise_BCHW.to(x_BCHW.device)


def _hide_nothing(hidden_B1HW: Tensor, randomness: Tensor, **kwargs: Any) -> Tensor:
    return hidden_B1HW


def _keep_size(**kwargs: Any) -> int:
    return 1


def _draw_box(shape_BCHW: torch.Size, generator: torch.Generator, size: int) -> Tensor:
    """Top row and left column of each image's box, int64, shape (B, 2), uniform over all positions inside the image."""
    num_images, _, height, width = shape_BCHW
    if size > min(height, width):
        raise ValueError(f"degradation: mask.size = {size} does not fit into images of {height}x{width} pixels.")
    top_B1 = torch.randint(height - size + 1, (num_images, 1), generator=generator)
    left_B1 = torch.randint(width - size + 1, (num_images, 1), generator=generator)
    return torch.cat((top_B1, left_B1), dim=1)


def _box(shape_BCHW: torch.Size, corners_B2: Tensor, size: int) -> Tensor:
    """inside_B1HW, True inside each image's box."""
    top_B11, left_B11 = corners_B2[:, 0, None, None], corners_B2[:, 1, None, None]
    rows_H1 = torch.arange(shape_BCHW[2], device=corners_B2.device)[:, None]
    columns_W = torch.arange(shape_BCHW[3], device=corners_B2.device)
    inside_rows_BH1 = (rows_H1 >= top_B11) & (rows_H1 < top_B11 + size)
    inside_columns_B1W = (columns_W >= left_B11) & (columns_W < left_B11 + size)
    return (inside_rows_BH1 & inside_columns_B1W).unsqueeze(1)


def _apply_mask(x_BCHW: Tensor, corners_B2: Tensor, size: int) -> Tensor:
    return x_BCHW.masked_fill(_box(x_BCHW.shape, corners_B2.to(x_BCHW.device), size), MID_GREY)


def _hide_box(hidden_B1HW: Tensor, corners_B2: Tensor, size: int) -> Tensor:
    return hidden_B1HW | _box(hidden_B1HW.shape, corners_B2, size)


def _draw_nothing(shape_BCHW: torch.Size, generator: torch.Generator, factor: int) -> Tensor:
    return torch.empty(shape_BCHW[0], 0)


def _check_divisible(height: int, width: int, factor: int) -> None:
    if height % factor or width % factor:
        raise ValueError(
            f"degradation: downsample.factor = {factor} does not divide images of {height}x{width} pixels; "
            "crop them to a multiple first, so that the restored image has the size of the clean one."
        )


def _apply_downsample(x_BCHW: Tensor, nothing_B0: Tensor, factor: int) -> Tensor:
    height, width = x_BCHW.shape[-2:]
    _check_divisible(height, width, factor)
    size = (height // factor, width // factor)
    return F.interpolate(x_BCHW, size=size, mode="bicubic", antialias=True, align_corners=False)


def _hide_downsampled(hidden_B1HW: Tensor, nothing_B0: Tensor, factor: int) -> Tensor:
    """A pixel is hidden if any of the pixels under it was."""
    _check_divisible(hidden_B1HW.shape[2], hidden_B1HW.shape[3], factor)
    return F.max_pool2d(hidden_B1HW.float(), factor) > 0


def _factor(factor: int) -> int:
    return factor


STEPS: dict[str, Step] = {
    "noise": Step(_draw_noise, _apply_noise, _hide_nothing, _keep_size),
    "mask": Step(_draw_box, _apply_mask, _hide_box, _keep_size),
    "downsample": Step(_draw_nothing, _apply_downsample, _hide_downsampled, _factor),
}


def _parse(steps: Steps) -> list[tuple[Step, dict[str, Any]]]:
    parsed = []
    for position, step in enumerate(steps):
        if len(step) != 1:
            raise ValueError(f"degradation[{position}] = {dict(step)} must have one key, one of {sorted(STEPS)}.")
        ((name, kwargs),) = step.items()
        if name not in STEPS:
            raise ValueError(f"degradation[{position}] = {name!r} is not one of {sorted(STEPS)}.")
        parsed.append((STEPS[name], dict(kwargs)))
    return parsed


def _draw_per_image(shape_BCHW: torch.Size, steps: Steps, seeds: Sequence[int]) -> list[Tensor]:
    """The randomness of every step, each image's from its own seed."""
    num_images, channels, height, width = shape_BCHW
    if num_images != len(seeds):
        raise ValueError(f"{num_images} images were given with {len(seeds)} seeds; each image needs its own.")
    parsed = []
    for step, kwargs in _parse(steps):
        parsed.append((step, kwargs, torch.Size((1, channels, height, width))))
        factor = step.upscale(**kwargs)
        height, width = height // factor, width // factor
    drawn: list[list[Tensor]] = [[] for _ in parsed]
    generator = torch.Generator()
    for seed in seeds:
        generator.manual_seed(seed)
        for draws, (step, kwargs, shape_1CHW) in zip(drawn, parsed, strict=True):
            draws.append(step.draw(shape_1CHW, generator, **kwargs))
    return [torch.cat(draws) for draws in drawn]


def degrade(x_BCHW: Tensor, steps: Steps, generator: torch.Generator) -> Tensor:
    """Degrades a batch with fresh randomness, for training.

    Args:
        x_BCHW: clean images, float32 in [0, 1].
        steps: the degradation, one-key mappings.
        generator: source of all randomness, on the CPU, so that every device sees the same degradation.

    Returns:
        y_BChw: degraded images; noise is not clipped, so they may leave [0, 1].

    Raises:
        ValueError: if a step is unknown or does not fit the size of the images.
    """
    y_BCHW = x_BCHW
    for step, kwargs in _parse(steps):
        y_BCHW = step.apply(y_BCHW, step.draw(y_BCHW.shape, generator, **kwargs), **kwargs)
    return y_BCHW


def degrade_fixed(x_BCHW: Tensor, steps: Steps, seeds: Sequence[int]) -> Tensor:
    """Degrades each image with randomness from its own seed alone, for evaluation.

    Args:
        x_BCHW: clean images, float32 in [0, 1].
        steps: the degradation, one-key mappings.
        seeds: one seed an image, from -2^63 to 2^64 - 1; the same image and seed give the same result in every batch.

    Returns:
        y_BChw: degraded images; noise is not clipped, so they may leave [0, 1].

    Raises:
        ValueError: if a step is unknown or does not fit the size of the images, or images and seeds differ in number.
    """
    y_BCHW = x_BCHW
    for (step, kwargs), randomness in zip(_parse(steps), _draw_per_image(x_BCHW.shape, steps, seeds), strict=True):
        y_BCHW = step.apply(y_BCHW, randomness, **kwargs)
    return y_BCHW


def hidden_pixels(shape_BCHW: torch.Size, steps: Steps, seeds: Sequence[int]) -> Tensor:
    """Which pixels `degrade_fixed` hides under masks, for baselines that are told where the hole is.

    Args:
        shape_BCHW: shape of the clean images.
        steps: the degradation, one-key mappings.
        seeds: those given to `degrade_fixed`.

    Returns:
        hidden_B1hw: bool, True where the degraded image is masked; all False without a mask step.
    """
    hidden_B1HW = torch.zeros(shape_BCHW[0], 1, *shape_BCHW[2:], dtype=torch.bool)
    for (step, kwargs), randomness in zip(_parse(steps), _draw_per_image(shape_BCHW, steps, seeds), strict=True):
        hidden_B1HW = step.hide(hidden_B1HW, randomness, **kwargs)
    return hidden_B1HW


def upscale_of(steps: Steps) -> int:
    """How many times larger than the degraded image the clean one is: the product of all downsampling factors."""
    upscale = 1
    for step, kwargs in _parse(steps):
        upscale *= step.upscale(**kwargs)
    return upscale
