"""The losses against their formulas, torch's own losses, and hand-made gradients."""

import pytest
import torch
import torch.nn.functional as F

from atelier.losses import (
    GAN_LOSSES,
    PIXEL_LOSSES,
    gradient_penalty,
    interpolated,
    unit_gradient_penalty,
)


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, generator=generator) * 3, torch.randn(16, generator=generator) * 3


@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
def test_discriminator_of_2014_is_binary_cross_entropy(name, logits):
    real, fake = logits
    expected = F.binary_cross_entropy_with_logits(
        real, torch.ones(16)
    ) + F.binary_cross_entropy_with_logits(fake, torch.zeros(16))
    torch.testing.assert_close(GAN_LOSSES[name].discriminator(real, fake), expected)


def test_minimax_generator_is_the_formula_of_goodfellow(logits):
    real, fake = logits
    expected = torch.log(1 - torch.sigmoid(fake)).mean()
    torch.testing.assert_close(GAN_LOSSES["minimax"].generator(real, fake), expected)


def test_minimax_game_is_zero_sum_in_the_fake_term(logits):
    real, fake = logits
    game = GAN_LOSSES["minimax"]
    real_term = F.softplus(-real).mean()
    torch.testing.assert_close(
        game.discriminator(real, fake) - real_term, -game.generator(real, fake)
    )


def test_non_saturating_generator_labels_its_images_real(logits):
    real, fake = logits
    expected = F.binary_cross_entropy_with_logits(fake, torch.ones(16))
    torch.testing.assert_close(GAN_LOSSES["non-saturating"].generator(real, fake), expected)


def test_relativistic_losses_are_minus_log_sigmoid_of_paired_differences(logits):
    real, fake = logits
    game = GAN_LOSSES["relativistic"]
    torch.testing.assert_close(
        game.discriminator(real, fake), -torch.log(torch.sigmoid(real - fake)).mean()
    )
    torch.testing.assert_close(
        game.generator(real, fake), -torch.log(torch.sigmoid(fake - real)).mean()
    )


def test_relativistic_losses_ignore_a_common_shift(logits):
    real, fake = logits
    game = GAN_LOSSES["relativistic"]
    torch.testing.assert_close(
        game.discriminator(real + 5, fake + 5), game.discriminator(real, fake)
    )


def test_least_squares_pulls_real_logits_to_one_and_fake_ones_to_zero_but_to_one_for_the_generator(
    logits,
):
    real, fake = logits
    game, ones, zeros = GAN_LOSSES["least-squares"], torch.ones(16), torch.zeros(16)
    expected = (F.mse_loss(real, ones) + F.mse_loss(fake, zeros)) / 2
    torch.testing.assert_close(game.discriminator(real, fake), expected)
    torch.testing.assert_close(game.generator(real, fake), F.mse_loss(fake, ones) / 2)
    assert game.discriminator(ones, zeros) == game.generator(real, ones) == 0


def test_hinge_discriminator_is_two_multi_margin_losses(logits):
    real, fake = logits
    # Of two classes scored (0, s), torch's loss is max(0, 1 - s) / 2 for the second, max(0, 1 + s)
    # / 2 for the first.
    scores_B2 = torch.stack((torch.zeros(32), torch.cat((real, fake))), dim=1)
    labels_B = torch.arange(2).flip(0).repeat_interleave(16)
    expected = 4 * F.multi_margin_loss(scores_B2, labels_B)  # mean over both halves, each halved
    torch.testing.assert_close(GAN_LOSSES["hinge"].discriminator(real, fake), expected)


def test_hinge_gives_no_gradient_beyond_its_margins():
    real, fake = (
        torch.tensor([0.9, 1.1]).requires_grad_(True),
        torch.tensor([-1.1, -0.9]).requires_grad_(True),
    )
    GAN_LOSSES["hinge"].discriminator(real, fake).backward()
    assert real.grad.tolist() == [-0.5, 0]
    assert fake.grad.tolist() == [0, 0.5]


def test_wasserstein_game_is_zero_sum_in_the_fake_term_and_ignores_a_common_shift(logits):
    real, fake = logits
    game = GAN_LOSSES["wasserstein"]
    torch.testing.assert_close(
        game.discriminator(real, fake), -game.generator(real, fake) - real.mean()
    )
    torch.testing.assert_close(
        game.discriminator(real + 5, fake + 5), game.discriminator(real, fake)
    )


@pytest.mark.parametrize("name", sorted(GAN_LOSSES))
def test_generator_descends_towards_higher_logits(name, logits):
    real, fake = logits
    fake = -fake.abs().requires_grad_(True)  # images that the discriminator sees through
    fake.retain_grad()
    GAN_LOSSES[name].generator(real, fake).backward()
    assert (fake.grad < 0).all()


@pytest.mark.parametrize("name", sorted(GAN_LOSSES))
def test_generator_needs_real_says_whether_the_real_logits_matter(name, logits):
    real, fake = logits
    game = GAN_LOSSES[name]
    depends = not torch.equal(game.generator(real, fake), game.generator(real + 1, fake))
    assert depends == game.generator_needs_real


@pytest.mark.parametrize("name", sorted(GAN_LOSSES))
def test_losses_stay_finite_for_a_sure_discriminator(name):
    real, fake = torch.full((4,), 300.0), torch.full((4,), -300.0)
    game = GAN_LOSSES[name]
    for loss in (
        game.discriminator(real, fake),
        game.discriminator(fake, real),
        game.generator(real, fake),
    ):
        assert torch.isfinite(loss)


def test_gradient_penalty_of_a_linear_critic_is_its_squared_norm():
    weight_CHW = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    x_BCHW = torch.randn(4, 2, 5, 3).requires_grad_(True)
    penalty_B = gradient_penalty((x_BCHW * weight_CHW).sum(dim=(1, 2, 3)), x_BCHW)
    torch.testing.assert_close(penalty_B, weight_CHW.square().sum().expand(4))


def test_gradient_penalty_of_a_quadratic_critic_and_its_own_gradient():
    x_BCHW = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(
        True
    )
    scale = torch.tensor(1.5, requires_grad=True)
    penalty_B = gradient_penalty(scale / 2 * x_BCHW.square().sum(dim=(1, 2, 3)), x_BCHW)
    squared_norm_B = x_BCHW.detach().square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(penalty_B, 1.5**2 * squared_norm_B)  # gradient is scale * x
    (scale_grad,) = torch.autograd.grad(penalty_B.sum(), scale)
    torch.testing.assert_close(scale_grad, 2 * 1.5 * squared_norm_B.sum())


@pytest.mark.parametrize(("norm", "expected"), [(0.0, 1.0), (1.0, 0.0), (3.0, 4.0)])
def test_unit_gradient_penalty_of_a_linear_critic_is_the_squared_distance_of_its_slope_from_one(
    norm, expected
):
    weight_CHW = norm * F.normalize(
        torch.randn(30, generator=torch.Generator().manual_seed(0)), dim=0
    ).view(2, 5, 3)
    weight_CHW.requires_grad_(True)
    x_BCHW = torch.randn(4, 2, 5, 3).requires_grad_(True)
    penalty_B = unit_gradient_penalty((x_BCHW * weight_CHW).sum(dim=(1, 2, 3)), x_BCHW)
    torch.testing.assert_close(penalty_B, torch.full((4,), expected))
    (weight_grad,) = torch.autograd.grad(penalty_B.mean(), weight_CHW)
    assert weight_grad.isfinite().all()  # also where the critic is flat
    torch.testing.assert_close(weight_grad.norm(), torch.tensor(2 * abs(norm - 1) * (norm > 0)))


def test_interpolated_images_lie_uniformly_on_the_line_between_real_and_fake():
    rng = torch.Generator().manual_seed(0)
    real_BCHW, fake_BCHW = torch.ones(2000, 2, 3, 2), -torch.ones(2000, 2, 3, 2)
    x_BCHW = interpolated(real_BCHW, fake_BCHW, rng)
    assert (x_BCHW == x_BCHW[:, :1, :1, :1]).all()  # one share an image
    shares_B = x_BCHW[:, 0, 0, 0].sort().values / 2 + 0.5
    assert (
        shares_B - torch.linspace(0, 1, 2000)
    ).abs().max() < 0.05  # Kolmogorov-Smirnov: 0.05 has p < 1e-4
    assert torch.equal(interpolated(real_BCHW, real_BCHW, rng), real_BCHW)


def test_images_between_real_ones_and_ones_of_half_precision_are_those_of_full_precision():
    rng = torch.Generator().manual_seed(0)
    real_BCHW = torch.rand(6, 2, 3, 2, generator=rng)
    fake_BCHW = torch.rand(6, 2, 3, 2, generator=rng).bfloat16()
    state = rng.get_state()
    x_BCHW = interpolated(real_BCHW, fake_BCHW, rng)
    rng.set_state(state)
    assert torch.equal(x_BCHW, interpolated(real_BCHW, fake_BCHW.float(), rng))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("l2", (0.25 + 0.0) / 2), ("l1", 0.25), ("charbonnier", ((0.25 + 1e-6) ** 0.5 + 1e-3) / 2)],
)
def test_pixel_losses_on_two_pixels(name, expected):
    x_hat_BCHW, x_BCHW = (
        torch.tensor([0.5, 0.3]).view(1, 1, 1, 2),
        torch.tensor([0.0, 0.3]).view(1, 1, 1, 2),
    )
    assert PIXEL_LOSSES[name](x_hat_BCHW, x_BCHW).item() == pytest.approx(expected)
