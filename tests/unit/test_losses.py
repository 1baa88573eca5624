"""The losses against their formulas, torch's own losses, and hand-made gradients."""

import pytest
import torch
import torch.nn.functional as F

from atelier.losses import GAN_LOSSES, PIXEL_LOSSES, gradient_penalty


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, generator=generator) * 3, torch.randn(16, generator=generator) * 3


@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
def test_discriminator_of_2014_is_binary_cross_entropy(name, logits):
    real, fake = logits
    expected = F.binary_cross_entropy_with_logits(real, torch.ones(16)) + F.binary_cross_entropy_with_logits(
        fake, torch.zeros(16)
    )
    torch.testing.assert_close(GAN_LOSSES[name].discriminator(real, fake), expected)


def test_minimax_generator_is_the_formula_of_goodfellow(logits):
    real, fake = logits
    expected = torch.log(1 - torch.sigmoid(fake)).mean()
    torch.testing.assert_close(GAN_LOSSES["minimax"].generator(real, fake), expected)


def test_minimax_game_is_zero_sum_in_the_fake_term(logits):
    real, fake = logits
    game = GAN_LOSSES["minimax"]
    real_term = F.softplus(-real).mean()
    torch.testing.assert_close(game.discriminator(real, fake) - real_term, -game.generator(real, fake))


def test_non_saturating_generator_labels_its_images_real(logits):
    real, fake = logits
    expected = F.binary_cross_entropy_with_logits(fake, torch.ones(16))
    torch.testing.assert_close(GAN_LOSSES["non-saturating"].generator(real, fake), expected)


def test_relativistic_losses_are_minus_log_sigmoid_of_paired_differences(logits):
    real, fake = logits
    game = GAN_LOSSES["relativistic"]
    torch.testing.assert_close(game.discriminator(real, fake), -torch.log(torch.sigmoid(real - fake)).mean())
    torch.testing.assert_close(game.generator(real, fake), -torch.log(torch.sigmoid(fake - real)).mean())


def test_relativistic_losses_ignore_a_common_shift(logits):
    real, fake = logits
    game = GAN_LOSSES["relativistic"]
    torch.testing.assert_close(game.discriminator(real + 5, fake + 5), game.discriminator(real, fake))


@pytest.mark.parametrize("name", sorted(GAN_LOSSES))
def test_generator_descends_towards_higher_logits(name, logits):
    real, fake = logits
    fake = fake.clone().requires_grad_(True)
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
    for loss in (game.discriminator(real, fake), game.discriminator(fake, real), game.generator(real, fake)):
        assert torch.isfinite(loss)


def test_gradient_penalty_of_a_linear_critic_is_its_squared_norm():
    weight_CHW = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    x_BCHW = torch.randn(4, 2, 5, 3).requires_grad_(True)
    penalty_B = gradient_penalty((x_BCHW * weight_CHW).sum(dim=(1, 2, 3)), x_BCHW)
    torch.testing.assert_close(penalty_B, weight_CHW.square().sum().expand(4))


def test_gradient_penalty_of_a_quadratic_critic_and_its_own_gradient():
    x_BCHW = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    scale = torch.tensor(1.5, requires_grad=True)
    penalty_B = gradient_penalty(scale / 2 * x_BCHW.square().sum(dim=(1, 2, 3)), x_BCHW)
    squared_norm_B = x_BCHW.detach().square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(penalty_B, 1.5**2 * squared_norm_B)  # gradient is scale * x
    (scale_grad,) = torch.autograd.grad(penalty_B.sum(), scale)
    torch.testing.assert_close(scale_grad, 2 * 1.5 * squared_norm_B.sum())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("l2", (0.25 + 0.0) / 2), ("l1", 0.25), ("charbonnier", ((0.25 + 1e-6) ** 0.5 + 1e-3) / 2)],
)
def test_pixel_losses_on_two_pixels(name, expected):
    x_hat_BCHW, x_BCHW = torch.tensor([0.5, 0.3]).view(1, 1, 1, 2), torch.tensor([0.0, 0.3]).view(1, 1, 1, 2)
    assert PIXEL_LOSSES[name](x_hat_BCHW, x_BCHW).item() == pytest.approx(expected)
