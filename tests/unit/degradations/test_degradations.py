"""The forward model: statistics, seeds, linearity, and what is refused."""

import pytest
import torch

from atelier.degradations import degrade, degrade_fixed, hidden_pixels, upscale_of

NOISE = [{"noise": {"sigma": 0.2}}]
MASK = [{"mask": {"size": 12}}]
DOWNSAMPLE = [{"downsample": {"factor": 2}}]
ALL = [*MASK, *DOWNSAMPLE, *NOISE]


def images(num_images: int, height: int = 28, width: int = 28, channels: int = 1) -> torch.Tensor:
    return torch.rand(
        num_images, channels, height, width, generator=torch.Generator().manual_seed(0)
    )


def test_noise_has_the_asked_standard_deviation_and_is_not_clipped():
    x_BCHW = images(64, 37, 31)
    y_BCHW = degrade(x_BCHW, NOISE, torch.Generator().manual_seed(1))
    noise_BCHW = y_BCHW - x_BCHW
    assert noise_BCHW.std().item() == pytest.approx(0.2, rel=0.02)  # 73,000 values: 1 % is 4 sigma
    assert noise_BCHW.mean().item() == pytest.approx(0.0, abs=0.004)
    assert y_BCHW.min() < 0 and y_BCHW.max() > 1


def test_mask_hides_one_box_of_mid_grey_and_keeps_the_rest():
    x_BCHW = images(50, 37, 31, channels=3) * 0.4  # never 0.5
    y_BCHW = degrade(x_BCHW, MASK, torch.Generator().manual_seed(1))
    hidden_BCHW = y_BCHW == 0.5
    assert (hidden_BCHW.sum(dim=(1, 2, 3)) == 3 * 12 * 12).all()
    assert torch.equal(y_BCHW[~hidden_BCHW], x_BCHW[~hidden_BCHW])
    for hidden_HW in hidden_BCHW[:, 0]:
        assert hidden_HW.any(dim=0).sum() == 12 and hidden_HW.any(dim=1).sum() == 12


def test_mask_reaches_every_position():
    y_BCHW = degrade(torch.zeros(4000, 1, 14, 13), MASK, torch.Generator().manual_seed(0))
    corners = {tuple((y_HW == 0.5).nonzero()[0].tolist()) for y_HW in y_BCHW[:, 0]}
    assert corners == {(top, left) for top in range(3) for left in range(2)}


def test_downsample_halves_the_size_and_keeps_a_constant():
    y_BCHW = degrade(torch.full((2, 3, 36, 30), 0.3), DOWNSAMPLE, torch.Generator())
    assert y_BCHW.shape == (2, 3, 18, 15)
    torch.testing.assert_close(y_BCHW, torch.full_like(y_BCHW, 0.3))


def test_downsample_is_antialiased():
    stripes_BCHW = torch.zeros(1, 1, 32, 32)
    stripes_BCHW[..., ::2] = (
        1.0  # the highest frequency; without a low-pass it would alias to 0 or 1
    )
    y_BCHW = degrade(stripes_BCHW, DOWNSAMPLE, torch.Generator())
    torch.testing.assert_close(
        y_BCHW[..., 3:-3, 3:-3], torch.full((1, 1, 10, 10), 0.5), atol=0.02, rtol=0
    )


def test_downsample_is_linear_and_autograd_gives_its_adjoint():
    x_BCHW = images(2, 36, 30).double().requires_grad_(True)
    A_x_BChw = degrade(x_BCHW, DOWNSAMPLE, torch.Generator())
    v_BChw = torch.randn(
        A_x_BChw.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    (At_v_BCHW,) = torch.autograd.grad((A_x_BChw * v_BChw).sum(), x_BCHW)
    # Equal only if A is linear: At_v is the transposed Jacobian at x, and an affine or curved A
    # leaves a remainder.
    torch.testing.assert_close((A_x_BChw * v_BChw).sum(), (x_BCHW * At_v_BCHW).sum())


@pytest.mark.parametrize("steps", [NOISE, MASK, DOWNSAMPLE, ALL])
def test_fixed_degradation_does_not_depend_on_the_batch(steps):
    x_BCHW, seeds = images(6), [2**63 + 5, 7, -3, 0, 7, 11]
    whole_BCHW = degrade_fixed(x_BCHW, steps, seeds)
    for index in (4, 0, 3):
        alone_BCHW = degrade_fixed(x_BCHW[index : index + 1], steps, seeds[index : index + 1])
        assert torch.equal(alone_BCHW[0], whole_BCHW[index])


@pytest.mark.parametrize("steps", [NOISE, MASK])
def test_fixed_degradation_depends_on_the_seed_alone(steps):
    x_BCHW = images(1).expand(3, -1, -1, -1)
    y_BCHW = degrade_fixed(x_BCHW, steps, [5, 5, 6])
    assert torch.equal(y_BCHW[0], y_BCHW[1])
    assert not torch.equal(y_BCHW[0], y_BCHW[2])


def test_fixed_noise_has_the_asked_standard_deviation():
    x_BCHW = images(100)
    noise_BCHW = degrade_fixed(x_BCHW, NOISE, range(100)) - x_BCHW
    assert noise_BCHW.std().item() == pytest.approx(0.2, rel=0.02)
    pixel_means_CHW = noise_BCHW.mean(dim=0)  # consecutive seeds must not give similar noise
    assert pixel_means_CHW.std().item() == pytest.approx(0.2 / 10, rel=0.2)


def test_same_generator_state_gives_the_same_training_degradation():
    x_BCHW = images(4)
    first = degrade(x_BCHW, ALL, torch.Generator().manual_seed(3))
    assert torch.equal(first, degrade(x_BCHW, ALL, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, degrade(x_BCHW, ALL, torch.Generator().manual_seed(4)))


def test_hidden_pixels_are_those_that_the_mask_filled():
    x_BCHW, seeds = images(20, 37, 31) * 0.4, range(20)
    hidden_B1HW = hidden_pixels(x_BCHW.shape, [*MASK, *NOISE], seeds)
    assert torch.equal(hidden_B1HW, degrade_fixed(x_BCHW, MASK, seeds) == 0.5)
    assert not hidden_pixels(x_BCHW.shape, NOISE, seeds).any()


def test_hidden_pixels_follow_a_downsampling():
    hidden_B1hw = hidden_pixels(torch.Size((20, 3, 28, 28)), ALL, range(20))
    full_B1HW = hidden_pixels(torch.Size((20, 3, 28, 28)), MASK, range(20))
    assert hidden_B1hw.shape == (20, 1, 14, 14)
    assert torch.equal(
        hidden_B1hw, full_B1HW.unflatten(3, (14, 2)).unflatten(2, (14, 2)).any(dim=5).any(dim=3)
    )


def test_upscale_is_the_product_of_the_factors():
    assert upscale_of(NOISE) == 1
    assert upscale_of([*DOWNSAMPLE, *NOISE, *DOWNSAMPLE]) == 4


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"nois": {"sigma": 0.2}}], r"degradation\[0\] = 'nois' is not one of"),
        (
            [*NOISE, {"noise": {"sigma": 0.1}, "mask": {"size": 3}}],
            r"degradation\[1\].*must have one key",
        ),
        ([{"mask": {"size": 29}}], r"mask.size = 29 does not fit into images of 28x28"),
        ([{"downsample": {"factor": 3}}], r"factor = 3 does not divide images of 28x28"),
    ],
)
def test_impossible_degradations_are_refused(steps, message):
    with pytest.raises(ValueError, match=message):
        degrade(images(2), steps, torch.Generator())
    with pytest.raises(ValueError, match=message):
        degrade_fixed(images(2), steps, [0, 1])


def test_every_image_needs_its_seed():
    with pytest.raises(ValueError, match="3 images were given with 2 seeds"):
        degrade_fixed(images(3), NOISE, [0, 1])
