"""Every kind of degradation: its statistics, its range, its draws, and the adjoint of the linear
ones."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from atelier.degradations import (
    STEPS,
    adjoint,
    degrade,
    degrade_fixed,
    degrade_with_level,
    noise_levels,
    upscale_of,
)
from tests.support.degraded import draw, images, one_of_each, two_kernels
from tests.support.places import SHARED

SIZES = [(37, 31), (5, 4), (64, 64)]


@pytest.fixture(scope="module")
def kernel_file(tmp_path_factory):
    return two_kernels(tmp_path_factory.mktemp("kernels") / "k.npz")


@pytest.fixture(scope="module")
def values(kernel_file):
    """The values of one step of every kind."""
    return one_of_each(kernel_file)


def fitting(name, height, width):
    """Downsampling needs a multiple of its factor."""
    return (height + height % 2, width + width % 2) if name == "downsample" else (height, width)


def test_one_of_each_is_complete(values):
    assert list(values) == list(STEPS)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_step_takes_any_size_in_grey_and_colour(values, name, channels, height, width):
    step = {name: values[name]}
    x_BCHW = images(3, channels, *fitting(name, height, width))
    y_BChw = draw(x_BCHW, step)
    factor = upscale_of([step])
    assert y_BChw.shape == (3, channels, x_BCHW.shape[2] // factor, x_BCHW.shape[3] // factor)
    assert y_BChw.dtype == torch.float32 and y_BChw.isfinite().all()
    if name not in ("noise", "speckle", "poisson", "downsample"):
        assert y_BChw.min() >= 0 and y_BChw.max() <= 1 + 1e-6
    if name == "poisson":
        assert y_BChw.min() >= 0


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("channels", [1, 3])
def test_fixed_degradation_does_not_depend_on_the_batch_or_the_memory_layout(
    values, name, channels
):
    step, seeds = {name: values[name]}, [2**63 + 5, 7, -3, 0, 7, 11]
    x_BCHW = images(6, channels, *fitting(name, 37, 31))
    whole_BCHW = degrade_fixed(x_BCHW, [step], seeds)
    for index in (4, 0, 3):
        alone_BCHW = degrade_fixed(x_BCHW[index : index + 1], [step], seeds[index : index + 1])
        assert torch.equal(alone_BCHW[0], whole_BCHW[index])
    other_layout_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        degrade_fixed(other_layout_BCHW, [step], seeds), whole_BCHW, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("name", sorted(set(STEPS) - {"downsample", "decolourise"}))
def test_each_image_draws_its_own(values, name):
    step = {name: values[name]}
    x_BCHW = images(1).expand(8, -1, -1, -1)
    y_BCHW = degrade_fixed(x_BCHW, [step], [5, 5, 6, 7, 8, 9, 10, 11])
    assert torch.equal(y_BCHW[0], y_BCHW[1])
    assert any(not torch.equal(y_BCHW[0], other_CHW) for other_CHW in y_BCHW[2:])
    trained_BCHW = draw(x_BCHW, step)
    assert torch.equal(trained_BCHW, draw(x_BCHW, step))
    assert any(not torch.equal(trained_BCHW[0], other_CHW) for other_CHW in trained_BCHW[1:])


# -- adjoint -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.linear])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_linear_step_passes_the_dot_product_test(values, name, channels, height, width):
    check_adjoint([{name: values[name]}], (3, channels, *fitting(name, height, width)))


def test_a_chain_of_linear_steps_passes_the_dot_product_test(values):
    names = [
        "decolourise",
        "motion_blur",
        "speckle",
        "strokes",
        "gaussian_blur",
        "downsample",
        "noise",
    ]
    check_adjoint([{name: values[name]} for name in names], (2, 3, 38, 32))


def check_adjoint(steps, shape_BCHW):
    seeds = range(shape_BCHW[0])
    x_BCHW = torch.randn(
        shape_BCHW, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    constant_BChw = degrade_fixed(torch.zeros_like(x_BCHW), steps, seeds)
    A_x_BChw = degrade_fixed(x_BCHW, steps, seeds) - constant_BChw
    v_BChw = torch.randn(
        A_x_BChw.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    At_v_BCHW = adjoint(v_BChw, x_BCHW.shape, steps, seeds)
    assert At_v_BCHW.shape == x_BCHW.shape and At_v_BCHW.dtype == torch.float64
    # x was no part of A'v, so this holds only if A is linear and A' its transpose.
    torch.testing.assert_close(
        (A_x_BChw * v_BChw).sum(), (x_BCHW * At_v_BCHW).sum(), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if not step.linear])
def test_a_step_without_an_adjoint_says_so_and_is_not_linear(values, name):
    steps = [{"noise": {"sigma": 0.1}}, {name: values[name]}]
    with pytest.raises(
        ValueError, match=rf"degradation\[1\]: '{name}' is not linear, so it has no adjoint"
    ):
        adjoint(images(2), torch.Size((2, 1, 37, 31)), steps, [0, 1])
    x_BCHW = images(2) / 2
    doubled_BCHW, once_BCHW = (degrade_fixed(x, steps[1:], [0, 1]) for x in (2 * x_BCHW, x_BCHW))
    assert (doubled_BCHW - 2 * once_BCHW).abs().max() > 0.01


# -- noise -------------------------------------------------------------------------------------


def test_a_range_of_noise_is_drawn_uniformly_and_its_level_is_known():
    x_BCHW, steps = torch.full((400, 1, 37, 31), 0.5), [{"noise": {"sigma": [0.1, 0.3]}}]
    y_BCHW, sigma_B = degrade_with_level(x_BCHW, steps, torch.Generator().manual_seed(1))
    assert torch.equal(y_BCHW, degrade(x_BCHW, steps, torch.Generator().manual_seed(1)))
    assert sigma_B.min() >= 0.1 and sigma_B.max() <= 0.3
    assert sigma_B.mean().item() == pytest.approx(0.2, abs=0.015)  # 5 standard errors
    assert sigma_B.std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.1)
    found_B = (y_BCHW - x_BCHW).std(dim=(1, 2, 3))
    torch.testing.assert_close(
        found_B, sigma_B, rtol=0.12, atol=0
    )  # 1147 pixels: 2 % is one standard error
    fixed_B = noise_levels(x_BCHW.shape, steps, range(400))
    found_B = (degrade_fixed(x_BCHW, steps, range(400)) - x_BCHW).std(dim=(1, 2, 3))
    torch.testing.assert_close(found_B, fixed_B, rtol=0.12, atol=0)


@pytest.mark.parametrize(
    "steps", [[], [{"jpeg": {"quality": 10}}], [{"noise": {"sigma": 1}}, {"decolourise": {}}]]
)
def test_the_noise_level_of_another_chain_is_refused(steps):
    with pytest.raises(ValueError, match="known only where `noise` is the last step"):
        degrade_with_level(images(2), steps, torch.Generator())
    with pytest.raises(ValueError, match="known only where `noise` is the last step"):
        noise_levels(torch.Size((2, 1, 5, 5)), steps, [0, 1])


def test_poisson_noise_has_the_mean_and_the_variance_of_counts():
    for level in (0.1, 0.8):
        y_BCHW = draw(torch.full((64, 1, 37, 31), level), {"poisson": {"peak": 20}})
        counts_BCHW = y_BCHW * 20
        torch.testing.assert_close(counts_BCHW, counts_BCHW.round(), atol=1e-4, rtol=0)
        assert y_BCHW.mean().item() == pytest.approx(level, rel=0.02)
        assert y_BCHW.var().item() == pytest.approx(level / 20, rel=0.04)
    assert (
        draw(torch.full((2, 1, 5, 5), -0.3), {"poisson": {"peak": 20}}) == 0
    ).all()  # after noise


def test_salt_and_pepper_are_equally_frequent_and_leave_the_rest():
    x_BCHW = images(64, 3) * 0.8 + 0.1  # never 0 or 1
    y_BCHW = draw(x_BCHW, {"salt_and_pepper": {"fraction": 0.2}})
    assert (y_BCHW == 0).float().mean().item() == pytest.approx(0.1, rel=0.03)
    assert (y_BCHW == 1).float().mean().item() == pytest.approx(0.1, rel=0.03)
    kept_BCHW = (y_BCHW > 0) & (y_BCHW < 1)
    assert torch.equal(y_BCHW[kept_BCHW], x_BCHW[kept_BCHW])


def test_speckle_grows_with_the_brightness():
    for level in (0.2, 0.8):
        x_BCHW = torch.full((64, 1, 37, 31), level)
        noise_BCHW = draw(x_BCHW, {"speckle": {"sigma": 0.3}}) - x_BCHW
        assert noise_BCHW.std().item() == pytest.approx(0.3 * level, rel=0.02)
        assert noise_BCHW.mean().item() == pytest.approx(0, abs=0.005)


# -- resolution, colour, JPEG ------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_downsampling_equals_pillows_antialiased_bicubic(factor):
    x_BCHW = images(1, 1, 12 * factor, 9 * factor)
    image = Image.fromarray(x_BCHW[0, 0].numpy()).resize(
        (9, 12), Image.Resampling.BICUBIC
    )  # mode F: not rounded
    y_BChw = draw(x_BCHW, {"downsample": {"factor": factor}})
    np.testing.assert_allclose(y_BChw[0, 0].numpy(), np.array(image), atol=1e-5)


def test_decolourising_leaves_pillows_luma_in_three_equal_channels():
    x_BCHW = images(1, 3)
    y_BCHW = draw(x_BCHW, {"decolourise": {}})
    assert torch.equal(y_BCHW[:, :1].expand(-1, 3, -1, -1), y_BCHW)
    pixels_HWC = (x_BCHW[0] * 255).round().byte().permute(1, 2, 0).numpy()
    luma_HW = np.array(Image.fromarray(pixels_HWC).convert("L")) / 255
    np.testing.assert_allclose(y_BCHW[0, 0].numpy(), luma_HW, atol=1.2 / 255)
    grey_BCHW = images(1)
    assert torch.equal(draw(grey_BCHW, {"decolourise": {}}), grey_BCHW)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_the_codec_makes_of_the_clipped_picture(channels):
    x_BCHW = images(1, channels) * 1.4 - 0.2
    pixels_HWC = (x_BCHW[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels_HWC.squeeze()).save(file, "JPEG", quality=20)
    expected_HWC = np.array(Image.open(file)).reshape(pixels_HWC.shape)
    y_BCHW = draw(x_BCHW, {"jpeg": {"quality": 20}})
    assert np.array_equal((y_BCHW[0] * 255).round().byte().permute(1, 2, 0).numpy(), expected_HWC)


def test_a_higher_jpeg_quality_is_nearer_to_the_picture():
    x_BCHW = images(2)
    errors = [
        (draw(x_BCHW, {"jpeg": {"quality": q}}) - x_BCHW).square().mean() for q in (5, 20, 50, 95)
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_jpeg_q10_of_classic5_has_the_published_psnr():
    psnr = []
    for path in sorted((SHARED / "classic5").glob("*.bmp")):
        x_HW = torch.from_numpy(np.array(Image.open(path).convert("L"))) / 255
        error_HW = draw(x_HW[None, None], {"jpeg": {"quality": 10}}) - x_HW
        psnr.append(-10 * math.log10(error_HW.square().mean().item()))
    assert np.mean(psnr) == pytest.approx(27.82, abs=0.01)  # as published for the codec of MATLAB
