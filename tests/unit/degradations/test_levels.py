"""Levels of a degradation: they are those that were really drawn, found again in what they did to
the images."""

import numpy as np
import pytest
import torch

from atelier.degradations import STEPS, degrade_fixed, hidden_pixels, noise_levels
from atelier.degradations.levels import STRENGTHS, levels_of

SEEDS = list(range(60))
SHAPE = torch.Size((60, 1, 40, 44))
RANGES = {
    "noise": [0.01, 0.3],
    "poisson": [5.0, 200.0],
    "salt_and_pepper": [0.05, 0.6],
    "speckle": [0.02, 0.5],
    "gaussian_blur": [0.5, 4.0],
    "box_blur": [1, 6],
    "motion_blur": [2.0, 20.0],
    "mask": [4, 30],
    "strokes": [2.0, 20.0],
    "missing_pixels": [0.1, 0.8],
    "jpeg": [5, 95],
}
MORE_IS_MILDER = {"poisson", "jpeg"}


def step_of(kind):
    others = {"motion_blur": {"angle": 30.0}}.get(kind, {})
    return {kind: {STRENGTHS[kind]: RANGES[kind], **others}}


def grey():
    """The same picture everywhere: waves and an edge, so that every step changes it."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(44.0), indexing="ij")
    x_HW = 0.4 + 0.2 * torch.sin(rows / 2) * torch.cos(columns / 3) + 0.2 * (columns > 20)
    return x_HW.expand(SHAPE).contiguous()


@pytest.mark.parametrize(
    "before", [[], [{"noise": {"sigma": 0.05}}, {"gaussian_blur": {"sigma": 0.7}}]], ids=["", "2nd"]
)
@pytest.mark.parametrize("kind", sorted(STRENGTHS))
def test_the_stronger_parts_hold_the_images_that_changed_most(kind, before):
    steps = [*before, step_of(kind)]
    levels = levels_of(steps)
    assert (levels.kind, levels.parameter) == (kind, STRENGTHS[kind])
    parts_B = levels.parts_B(SHAPE, steps, SEEDS)
    x_BCHW = grey()
    change = (
        (degrade_fixed(x_BCHW, steps, SEEDS) - degrade_fixed(x_BCHW, before, SEEDS))
        .square()
        .mean(dim=(1, 2, 3))
    )
    if kind in ("mask", "strokes", "missing_pixels"):
        change = hidden_pixels(SHAPE, steps, SEEDS).float().mean(dim=(1, 2, 3))
    assert sorted(set(parts_B)) == [0, 1, 2]
    of_parts = [change.numpy()[parts_B == part].mean() for part in range(3)]
    assert of_parts == sorted(of_parts, reverse=kind in MORE_IS_MILDER)


@pytest.mark.parametrize(
    "before", [[], [{"missing_pixels": {"fraction": 0.1}}, {"box_blur": {"radius": 2}}]]
)
def test_the_level_of_noise_is_the_one_that_restorers_are_told(before):
    steps = [*before, {"noise": {"sigma": (0.05, 0.2)}}]
    levels = levels_of(steps)
    assert levels.names == ["noise.sigma 0.05-0.1", "noise.sigma 0.1-0.15", "noise.sigma 0.15-0.2"]
    expected = np.digitize(noise_levels(SHAPE, steps, SEEDS).numpy(), [0.1, 0.15])
    np.testing.assert_array_equal(levels.parts_B(SHAPE, steps, SEEDS), expected)


def test_an_images_level_does_not_depend_on_the_others():
    steps = [step_of("jpeg")]
    levels = levels_of(steps)
    together = levels.parts_B(SHAPE, steps, SEEDS)
    alone = [levels.parts_B(torch.Size((1, *SHAPE[1:])), steps, [seed]).item() for seed in SEEDS]
    assert together.tolist() == alone


def test_the_first_range_counts():
    steps = [{"gaussian_blur": {"sigma": 1.0}}, step_of("jpeg"), step_of("noise")]
    assert levels_of(steps).names == [
        "jpeg.quality 5-35",
        "jpeg.quality 35-65",
        "jpeg.quality 65-95",
    ]


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [{"noise": {"sigma": 0.1}}, {"downsample": {"factor": 2}}, {"decolourise": {}}],
        [{"mask": {"size": [4, 8], "count": 3}}],  # each box has a size of its own
        [{"mask": {"size": 4, "count": [1, 3]}}],
        [
            {"motion_blur": {"length": 5.0, "angle": [0.0, 180.0]}}
        ],  # no direction is stronger than another
    ],
)
def test_without_a_range_of_one_strength_there_are_no_levels(steps):
    assert levels_of(steps) is None


def test_every_step_with_a_strength_is_known():
    without = {"kernel_blur", "downsample", "decolourise"}
    assert set(STEPS) == set(STRENGTHS) | without
