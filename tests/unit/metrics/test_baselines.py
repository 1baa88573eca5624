"""Classical restorers: each does its one thing, to odd sizes and to every combination of
degradations."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from atelier.degradations import degrade_fixed, hidden_pixels
from atelier.metrics.baselines import (
    baselines_for,
    bicubic,
    diffusion_fill,
    gaussian,
    mean_fill,
    median3,
    nearest,
)
from atelier.metrics.pixels import psnr_N

NOISE = {"noise": {"sigma": 0.2}}
MASK = {"mask": {"size": 9}}
DOWNSAMPLE = {"downsample": {"factor": 2}}
POISSON = {"poisson": {"peak": 20}}
GRAINS = {"salt_and_pepper": {"fraction": 0.1}}
SPECKLE = {"speckle": {"sigma": [0.2, 0.4]}}
BLUR = {"gaussian_blur": {"sigma": 1.0}}
STROKES = {"strokes": {"width": 4, "count": 2}}
MISSING = {"missing_pixels": {"fraction": 0.5}}
JPEG = {"jpeg": {"quality": 10}}
GREY = {"decolourise": {}}


def _images(num_images=3, channels=1, height=37, width=31):
    """Smooth images in [0, 0.8], darker on the whole than the mid grey of a mask."""
    rows = torch.linspace(0, 1, height)[:, None]
    columns = torch.linspace(0, 1, width)
    return (0.4 * (rows + columns**2)).expand(num_images, channels, height, width).clone()


def _hole(images, top=10, left=12, size=9):
    hidden = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
    hidden[..., top : top + size, left : left + size] = True
    return hidden


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([], {"identity"}),
        ([NOISE], {"identity", "median3", "gaussian"}),
        ([MASK], {"identity", "mean_fill", "diffusion_fill"}),
        ([DOWNSAMPLE], {"identity", "bicubic"}),
        ([MASK, NOISE], {"identity", "median3", "gaussian", "mean_fill", "diffusion_fill"}),
        *(([noise], {"identity", "median3", "gaussian"}) for noise in (POISSON, GRAINS, SPECKLE)),
        *(([mask], {"identity", "mean_fill", "diffusion_fill"}) for mask in (STROKES, MISSING)),
        ([BLUR], {"identity", "sharpen"}),
        ([BLUR, MISSING, JPEG], {"identity", "sharpen", "gaussian", "mean_fill", "diffusion_fill"}),
        ([GREY], {"identity"}),
        (
            [NOISE, MASK, DOWNSAMPLE],
            {"identity", "median3", "gaussian", "mean_fill", "diffusion_fill", "bicubic"},
        ),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_baseline_restores_the_clean_size_and_range(steps, names, channels):
    height, width = (38, 32) if DOWNSAMPLE in steps else (37, 31)
    x = _images(channels=channels, height=height, width=width)
    seeds = [1, 2, 3]
    y, hidden = degrade_fixed(x, steps, seeds), hidden_pixels(x.shape, steps, seeds)
    baselines = baselines_for(steps)
    assert set(baselines) == names
    for restore in baselines.values():
        x_hat = restore(y, hidden)
        assert x_hat.shape == x.shape and x_hat.dtype == torch.float32
        assert 0 <= x_hat.min() and x_hat.max() <= 1
        one_by_one = torch.cat([restore(y[i : i + 1], hidden[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(one_by_one, x_hat, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "steps",
    [
        [NOISE],
        [MASK],
        [DOWNSAMPLE],
        [MASK, NOISE],
        [MASK, DOWNSAMPLE, NOISE],
        [POISSON],
        [GRAINS],
        [SPECKLE],
        [MISSING],
    ],
)
def test_baselines_are_better_than_nothing(steps):
    x = _images(num_images=8, height=38, width=32)
    seeds = list(range(8))
    y, hidden = degrade_fixed(x, steps, seeds), hidden_pixels(x.shape, steps, seeds)
    psnr = {
        name: psnr_N(f(y, hidden).numpy(), x.numpy()).mean()
        for name, f in baselines_for(steps).items()
    }
    nothing = psnr.pop("identity")
    for name, restored in psnr.items():
        assert restored > nothing + 0.1, name
    if MASK in steps and NOISE not in steps:
        assert psnr["diffusion_fill"] > psnr["mean_fill"] + 0.1


def test_unknown_degradations_are_refused():
    with pytest.raises(ValueError, match="'fog' is not one of"):
        baselines_for([{"fog": {"sigma": 1}}])


def test_identity_only_clips():
    y = torch.randn(2, 1, 37, 31, generator=torch.Generator().manual_seed(0))
    assert torch.equal(baselines_for([NOISE])["identity"](y, _hole(y)), y.clamp(0, 1))


def test_identity_of_a_downsampled_image_repeats_pixels():
    y = torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]]])
    expected = [
        [0.1, 0.1, 0.2, 0.2],
        [0.1, 0.1, 0.2, 0.2],
        [0.3, 0.3, 0.4, 0.4],
        [0.3, 0.3, 0.4, 0.4],
    ]
    assert torch.equal(nearest(y, 2), torch.tensor([[expected]]))


def test_median_removes_a_salt_pixel_and_equals_scipy():
    x = _images()
    y = x.clone()
    y[0, 0, 20, 20] = 1.0
    assert median3(y)[0, 0, 20, 20] == pytest.approx(x[0, 0, 20, 20].item(), abs=0.02)
    noisy = torch.rand(2, 3, 37, 31, generator=torch.Generator().manual_seed(0))
    expected = median_filter(noisy.numpy(), size=(1, 1, 3, 3), mode="mirror")
    assert np.array_equal(median3(noisy).numpy(), expected)


def test_gaussian_keeps_flat_areas_and_averages_noise():
    flat = torch.full((1, 1, 37, 31), 0.3)
    torch.testing.assert_close(gaussian(flat), flat)
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 16.0
    assert gaussian(point)[0, 0, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


def test_noise_is_not_clipped_before_it_is_averaged():
    black = torch.zeros(4, 1, 37, 31)
    y = degrade_fixed(black, [NOISE], [0, 1, 2, 3])
    blurred = baselines_for([NOISE])["gaussian"](y, torch.zeros_like(black, dtype=torch.bool))
    # Clipping first would leave a mean of 0.2 / sqrt(2 pi) = 0.08 everywhere.
    assert blurred.mean() < 0.04


@pytest.mark.parametrize("fill", [mean_fill, diffusion_fill])
def test_fills_change_the_hole_only(fill):
    x = _images(channels=3)
    hidden = _hole(x)
    filled = fill(x.masked_fill(hidden, 0.5), hidden)
    assert torch.equal(filled.masked_select(~hidden), x.masked_select(~hidden))
    # What lay in the hole does not matter.
    assert torch.equal(filled, fill(x.masked_fill(hidden, 123.0), hidden))


def test_mean_fill_is_the_mean_of_each_images_visible_pixels():
    x = (
        _images(channels=2)
        * torch.tensor([0.5, 1.0])[:, None, None]
        * torch.tensor([0.2, 0.6, 1.0])[:, None, None, None]
    )
    hidden = _hole(x)
    hidden[1] = False
    filled = mean_fill(x, hidden)
    for image in (0, 2):
        for channel in (0, 1):
            expected = x[image, channel][~hidden[image, 0]].mean()
            assert torch.allclose(filled[image, channel][hidden[image, 0]], expected)
    assert torch.equal(filled[1], x[1])


def test_diffusion_continues_a_ramp_through_the_hole():
    # A plane solves Laplace's equation, so the hole must be filled with what was there.
    rows, columns = torch.linspace(0, 0.5, 37)[:, None], torch.linspace(0, 0.5, 31)
    x = (rows + columns).expand(1, 1, 37, 31).clone()
    hidden = _hole(x)
    error = (diffusion_fill(x.masked_fill(hidden, 0.5), hidden) - x).abs().max()
    assert error < 2e-3 < (mean_fill(x, hidden) - x).abs().max()


def test_holes_may_touch_the_border_or_cover_everything():
    x = _images()
    at_corner = _hole(x, top=0, left=0, size=5)
    filled = diffusion_fill(x.masked_fill(at_corner, 0.9), at_corner)
    assert (filled - x).abs().max() < 0.1
    everything = torch.ones_like(at_corner)
    assert torch.equal(diffusion_fill(x, everything), torch.full_like(x, 0.5))


def test_bicubic_reproduces_a_ramp_and_factor_one_changes_nothing():
    ramp = torch.linspace(0.2, 0.8, 20).expand(1, 1, 20, 20)
    step = (0.8 - 0.2) / 19
    upsampled = bicubic(ramp, 2)
    assert upsampled.shape == (1, 1, 40, 40)
    centres = 0.2 + step * (torch.arange(40) / 2 - 0.25)
    torch.testing.assert_close(
        upsampled[0, 0, 10, 6:-6], centres[6:-6]
    )  # a = -0.75 bends a ramp by 0.0015
    assert bicubic(ramp, 1) is ramp


def test_sharpening_undoes_a_part_of_a_small_blur_and_keeps_flat_areas():
    edge = torch.cat((torch.zeros(1, 1, 37, 15), torch.ones(1, 1, 37, 16)), dim=3) * 0.6 + 0.2
    blurred = gaussian(edge)
    restored = baselines_for([BLUR])["sharpen"](blurred, _hole(edge))
    assert (restored - edge).square().mean() < 0.7 * (blurred - edge).square().mean()
    torch.testing.assert_close(restored[..., :10], edge[..., :10])
