"""The game: which penalties the discriminator's loss adds, and what comes back of a step."""

from functools import partial

import pytest
import torch

from atelier.losses import GAN_LOSSES
from atelier.params import DiscriminatorAugment, Training
from atelier.training.checkpoint import Checkpoints
from atelier.training.course import Course
from atelier.training.discriminator_augmentation import DiscriminatorAugmentation
from atelier.training.game import Game, Penalties
from atelier.training.session import Session
from tests.support.tiny import ignore

LABELS = torch.zeros(6, dtype=torch.int64)
UNCHANGED = DiscriminatorAugmentation(None, 0.0, torch.Generator())


class Bowl(torch.nn.Module):
    """scale/2 * |x|^2: its slope at x is scale * x, so a penalty tells at which images it was
    taken."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.seen = []

    def forward(self, x_BCHW, labels_B):
        self.seen.append(x_BCHW.detach().clone())
        return self.scale / 2 * x_BCHW.square().sum(dim=(1, 2, 3))


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(6, 1, 4, 4, generator=rng), torch.randn(6, 1, 4, 4, generator=rng)


def slopes(D, x_BCHW):
    return D.scale * x_BCHW.flatten(1).norm(dim=1)


def outcome_of(D, images, rng=None, loss="hinge", augment=UNCHANGED, **weights):
    real, fake = (x_BCHW.clone() for x_BCHW in images)
    game = Game(
        G=torch.nn.Identity(),
        D=D,
        loss=GAN_LOSSES[loss],
        penalties=Penalties(**weights),
        augment=augment,
        rng=rng or torch.Generator(),
    )
    return game.discriminator_loss(game.penalties, real, fake, LABELS)


def loss_of(*arguments, **changes):
    return outcome_of(*arguments, **changes).loss


def test_without_penalties_it_is_the_game_alone(images):
    D = Bowl(0.3)
    expected = GAN_LOSSES["hinge"].discriminator(D(images[0], LABELS), D(images[1], LABELS))
    torch.testing.assert_close(loss_of(D, images), expected)


def test_each_penalty_is_taken_at_its_own_images_with_its_own_weight(images):
    D, (real, fake) = Bowl(0.3), images
    alone = loss_of(D, images)
    torch.testing.assert_close(
        loss_of(D, images, r1_gamma=4.0) - alone, 2 * slopes(D, real).square().mean()
    )
    torch.testing.assert_close(
        loss_of(D, images, r2_gamma=3.0) - alone, 1.5 * slopes(D, fake).square().mean()
    )
    D.seen.clear()
    with_all = loss_of(D, images, r1_gamma=4.0, r2_gamma=3.0, gp_weight=10.0)
    zero_centred = 2 * slopes(D, real).square().mean() + 1.5 * slopes(D, fake).square().mean()
    between = D.seen[2]
    torch.testing.assert_close(
        with_all - alone - zero_centred, 10 * (slopes(D, between) - 1).square().mean()
    )
    share_B = ((between - fake) / (real - fake)).flatten(1)
    assert ((share_B >= -1e-4) & (share_B <= 1 + 1e-4)).all()
    torch.testing.assert_close(share_B, share_B[:, :1].expand_as(share_B), rtol=1e-2, atol=1e-3)


def test_the_places_between_come_from_the_training_generator_and_only_if_they_are_needed(
    images,
):
    D, rng = Bowl(0.3), torch.Generator().manual_seed(0)
    before = rng.get_state()
    loss_of(D, images, rng, r1_gamma=1.0, r2_gamma=1.0)
    assert torch.equal(rng.get_state(), before)
    one = loss_of(D, images, rng, gp_weight=1.0)
    assert not torch.equal(rng.get_state(), before)
    other = loss_of(D, images, rng, gp_weight=1.0)
    rng.set_state(before)
    assert torch.equal(loss_of(D, images, rng, gp_weight=1.0), one)
    assert not torch.equal(one, other)


def test_the_wasserstein_game_with_its_penalty_is_the_formula_of_the_paper(images):
    D = Bowl(0.3)
    loss = loss_of(D, images, loss="wasserstein", gp_weight=10.0)
    real, fake, between = D.seen
    expected = (
        D(fake, LABELS).mean()
        - D(real, LABELS).mean()
        + 10 * (slopes(D, between) - 1).square().mean()
    )
    torch.testing.assert_close(loss, expected)


def test_the_discriminator_sees_changed_images_of_both_kinds_and_is_penalised_at_them(images):
    D = Bowl(0.3)
    augment = augmentation(cutout=0.5)
    alone = loss_of(D, images, augment=augment)
    seen = D.seen
    assert all(
        ((x == 0) | (x == given)).all() and (x == 0).any()
        for x, given in zip(seen, images, strict=True)
    )
    assert augment.recent[-1] == 1.0  # it was told the logits, which a bowl never has below zero
    D.seen = []
    penalised = loss_of(D, images, augment=augmentation(cutout=0.5), r1_gamma=4.0, gp_weight=10.0)
    real, fake, between = D.seen
    assert torch.equal(real, seen[0]) and torch.equal(fake, seen[1])
    assert (
        (between == 0) | ((real != 0) | (fake != 0))
    ).all()  # between what it compares, where both are cut it is too
    expected = 2 * slopes(D, real).square().mean() + 10 * (slopes(D, between) - 1).square().mean()
    torch.testing.assert_close(penalised - alone, expected)


def test_r1_is_of_the_slope_with_respect_to_the_image_before_it_was_changed(images):
    """As in the code of StyleGAN2-ADA: a change that lessens contrast lessens the slope alike."""
    D, augment = Bowl(0.3), augmentation(colour=True)
    penalty = loss_of(D, images, augment=augment, r1_gamma=2.0) - loss_of(
        D, images, augment=augmentation(colour=True)
    )
    real = images[0].clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(D(augmentation(colour=True)(real), LABELS).sum(), real)
    torch.testing.assert_close(penalty, grad.square().sum(dim=(1, 2, 3)).mean())
    assert not torch.isclose(penalty, slopes(D, D.seen[0]).square().mean(), rtol=1e-2)


def augmentation(**wanted):
    record = DiscriminatorAugment(probability=1.0, **wanted)
    return DiscriminatorAugmentation(record, 0.0, torch.Generator().manual_seed(0))


class Drawing(torch.nn.Module):
    """Images whose pixels are all `scale` times the first latent; counts how often it draws."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.draws = 0

    def forward(self, z_BZ, labels_B):
        self.draws += 1
        return self.scale * z_BZ[:, :1, None, None].expand(-1, 1, 4, 4)


def game_of(D, loss="relativistic", G=None):
    G = G or torch.nn.Identity()
    return Game(G, D, GAN_LOSSES[loss], Penalties(), UNCHANGED, torch.Generator())


def test_the_discriminator_loss_comes_with_the_logits_of_both_kinds(images):
    D = Bowl(0.3)
    kept = outcome_of(D, images, loss="relativistic", r1_gamma=1.0).kept
    real, fake = images
    assert torch.equal(kept["real_logits"], D(real, LABELS))
    assert torch.equal(kept["fake_logits"], D(fake, LABELS))
    assert not any(logits_B.requires_grad for logits_B in kept.values())


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_logits_of_a_batch_in_parts_are_those_of_the_whole_batch(images, tmp_path, accumulate):
    D = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1), torch.nn.Flatten(0))
    judge = Judging(D)
    real, fake = images
    expected = (judge(real, LABELS).detach(), judge(fake, LABELS).detach())
    training = Training(kimg=1.0, batch_size=6, accumulate=accumulate, lr=0.1)
    session = Session(torch.device("cpu"), 0, Checkpoints(tmp_path, "f"), ignore, ignore)
    course = Course(session, training, {}, torch.Generator())
    optimizer = torch.optim.SGD(judge.parameters(), lr=0.1)
    game = game_of(judge)
    objective = partial(game.discriminator_loss, game.penalties)
    outcome = course.minimise("the loss", optimizer, objective, real, fake, LABELS)
    torch.testing.assert_close(outcome.kept["real_logits"], expected[0])
    torch.testing.assert_close(outcome.kept["fake_logits"], expected[1])
    signals = game.signals(outcome.kept)
    assert signals["d_accuracy"] == pytest.approx((expected[0] > expected[1]).float().mean())
    assert signals["logits"] == pytest.approx(torch.stack(expected).abs().max().item())


class Judging(torch.nn.Module):
    """A discriminator that asks for no class."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x_BCHW, labels_B):
        return self.network(x_BCHW)


@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_signals_are_mean_slopes_of_the_losses_by_finite_differences(loss):
    rng = torch.Generator().manual_seed(1)
    kept = {
        name: torch.randn(5, generator=rng, dtype=torch.float64)
        for name in ("real_logits", "fake_logits")
    }
    rules = GAN_LOSSES[loss]

    def slope(side, name, image):
        values = []
        for sign in (-1, 1):
            moved = {key: logits_B.clone() for key, logits_B in kept.items()}
            moved[name][image] += sign * 1e-6
            values.append(side(moved["real_logits"], moved["fake_logits"]).item())
        return abs(values[1] - values[0]) / 2e-6

    signals = game_of(Bowl(1.0), loss).signals(kept)
    of_d = [slope(rules.discriminator, name, i) for name in kept for i in range(5)]
    of_g = [slope(rules.generator, "fake_logits", i) for i in range(5)]
    assert signals["d_signal"] == pytest.approx(sum(of_d) / 2, abs=1e-6)
    assert signals["g_signal"] == pytest.approx(sum(of_g), abs=1e-6)
    assert not any(logits_B.requires_grad for logits_B in kept.values())


@pytest.mark.parametrize("loss", ["relativistic", "hinge"])
def test_the_generator_is_judged_alike_on_drawn_images_and_at_their_latents(images, loss):
    real, _ = images
    z_BZ = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    G = Drawing()
    D = Judging(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1)))
    game = game_of(D, loss, G)
    at_images = game.generator_loss(real, G(z_BZ, LABELS), LABELS).loss
    at_latents = game.generator_loss_at(real, z_BZ, LABELS).loss
    assert torch.equal(at_images, at_latents)
    assert G.draws == 2
    at_latents.backward()
    assert G.scale.grad.abs() > 0
    assert {weight.grad for weight in D.parameters()} == {None}


def test_each_player_is_told_the_discriminator_weights_are_its_own_or_not(images):
    D = Judging(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1)))
    game = game_of(D)
    real, fake = images
    game.generator_loss(real, fake, LABELS)
    assert not any(weight.requires_grad for weight in D.parameters())
    game.discriminator_loss(Penalties(), real.clone(), fake.clone(), LABELS).loss.backward()
    assert all(weight.grad is not None for weight in D.parameters())


@pytest.mark.parametrize("name", ["r1_gamma", "r2_gamma", "gp_weight"])
def test_one_penalty_is_enough_to_be_asked_for_some(name):
    assert Penalties(**{name: 0.1}).are_asked()
    assert not Penalties().are_asked()


def test_lazy_penalties_weigh_as_much_over_all_steps():
    lazy = Penalties(r1_gamma=1.0, r2_gamma=0.5, gp_weight=10.0, every=4)
    steps = [lazy.at(step) for step in range(8)]
    assert [weights.r1_gamma for weights in steps] == [4, 0, 0, 0, 4, 0, 0, 0]
    assert sum(weights.r2_gamma for weights in steps) == 8 * 0.5
    assert sum(weights.gp_weight for weights in steps) == 8 * 10
    always = Penalties(r1_gamma=1.0)
    assert {always.at(step) for step in range(3)} == {always}
