"""What adversarial restorers are trained with.

The opponent, its pool, and images of which no two belong together.
"""

import numpy as np
import pytest
import torch

from atelier.losses import GAN_LOSSES
from atelier.params import Adversarial
from atelier.training.adversarial import ImagePool, Opponent, beside
from atelier.training.checkpoint import Checkpoints
from atelier.training.datasets import ArrayImages
from atelier.training.pixels import to_images
from atelier.training.session import Session
from atelier.training.translation import damaged_by, train_translation, unpaired_batches, weighted
from tests.support.tiny import BATCH, ignore, tiny_model, train

CPU = torch.device("cpu")
TRAINING = tiny_model("cnn", training={"kimg": 1.0, "lr": 2e-3, "warmup_kimg": 0.0}).training


def numbered(first, count):
    return torch.arange(first, first + count, dtype=torch.float32)[:, None, None, None]


def session(folder):
    return Session(CPU, 7, Checkpoints(folder, "tiny"), ignore, ignore)


# -- the pool ----------------------------------------------------------------------------------


def test_a_pool_that_is_not_full_shows_the_new_images():
    pool = ImagePool(50)
    assert torch.equal(pool.exchange(numbered(0, 50), torch.Generator()), numbered(0, 50))


def test_a_full_pool_shows_new_and_former_images_half_and_half_and_each_at_most_once():
    pool, rng = ImagePool(50), torch.Generator().manual_seed(0)
    shown = torch.cat([pool.exchange(numbered(10 * i, 10), rng) for i in range(400)]).flatten()[50:]
    new = shown == torch.arange(50, 4000)
    assert new.float().mean().item() == pytest.approx(0.5, abs=0.03)  # four standard errors
    former = shown[~new]
    assert len(set(former.tolist())) == len(former)
    # An image is taken out with probability 1/2 * 1/50 at each later one: it waits for 100 on
    # average.
    waits = torch.arange(50, 4000)[~new] - former
    assert 80 < waits.mean() < 120


def test_a_pool_of_none_shows_every_image_as_it_comes_and_draws_nothing():
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(ImagePool(0).exchange(numbered(0, 9), rng), numbered(0, 9))
    assert torch.equal(rng.get_state(), torch.Generator().manual_seed(0).get_state())


def test_a_pool_goes_on_from_its_state_and_holds_copies():
    one, rng = ImagePool(5), torch.Generator().manual_seed(0)
    fake = numbered(0, 20).requires_grad_()
    assert not one.exchange(fake, rng).requires_grad
    kept, other = one.state_dict(), ImagePool(5)
    other.load_state_dict(kept)
    other_rng = torch.Generator()
    other_rng.set_state(rng.get_state())
    with torch.no_grad():
        fake.fill_(-1)
    assert torch.equal(
        one.exchange(numbered(20, 30), rng), other.exchange(numbered(20, 30), other_rng)
    )
    assert min(image.item() for image in kept["images"]) >= 0


# -- the opponent ------------------------------------------------------------------------------


def learnt(opponent, real, fake):
    """One step of the discriminator; returns the loss before it."""
    opponent.optimizer.zero_grad()
    loss = opponent.objective(real, fake).loss
    loss.backward()
    opponent.optimizer.step()
    return loss.item()


@pytest.mark.parametrize("loss", ["non-saturating", "least-squares", "hinge"])
def test_an_opponent_learns_to_tell_two_kinds_of_images_apart(loss):
    torch.manual_seed(0)
    opponent = Opponent(Adversarial(weight=1.0, width=4, layers=1, loss=loss), 1, TRAINING, CPU)
    real, fake = torch.rand(8, 1, 20, 20), 0.5 * torch.rand(8, 1, 20, 20)
    losses = [learnt(opponent, real, fake) for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]
    assert opponent.judge(real) < opponent.judge(fake)


def test_judging_reaches_the_images_but_not_the_weights():
    opponent = Opponent(Adversarial(weight=1.0, width=4, layers=1), 1, TRAINING, CPU)
    fake = torch.rand(2, 1, 20, 20, requires_grad=True)
    opponent.judge(fake).backward()
    assert fake.grad.abs().sum() > 0
    assert {weight.grad for weight in opponent.D.parameters()} == {None}
    opponent.objective(fake.detach(), fake.detach()).loss.backward()
    assert all(weight.grad is not None for weight in opponent.D.parameters())


def test_an_opponent_sees_images_around_zero_and_plays_the_game_it_was_given():
    opponent = Opponent(Adversarial(weight=1.0, width=4, layers=1, loss="hinge"), 1, TRAINING, CPU)
    opponent.D.eval()
    fake = torch.rand(2, 1, 20, 20)
    assert torch.equal(
        opponent.judge(fake),
        GAN_LOSSES["hinge"].generator(torch.zeros(0), opponent.D(fake * 2 - 1)),
    )


def test_the_opponents_learning_rate_and_momentum_are_its_own():
    for lr, peak in ((None, 2e-3), (5e-4, 5e-4)):
        opponent = Opponent(
            Adversarial(weight=1.0, width=4, layers=1, lr=lr, betas=(0.3, 0.9)), 1, TRAINING, CPU
        )
        assert opponent.optimizer.defaults["lr"] == peak
        assert opponent.optimizer.defaults["betas"] == (0.3, 0.9)


def test_a_small_degraded_image_is_enlarged_beside_the_restored_one():
    torch.manual_seed(0)
    y_BChw, x_BCHW = torch.rand(2, 3, 19, 16), torch.rand(2, 3, 38, 32)
    both = beside(y_BChw, x_BCHW)
    assert torch.equal(both[:, 3:], x_BCHW)
    assert both.shape == (2, 6, 38, 32)
    torch.testing.assert_close(
        torch.nn.functional.avg_pool2d(both[:, :3], 2), y_BChw, atol=0.3, rtol=0
    )
    assert torch.equal(beside(x_BCHW, x_BCHW)[:, :3], x_BCHW)


def test_an_opponent_changes_what_a_restorer_learns_by_its_weight(fashion, tmp_path):
    adversarial = {"width": 4, "layers": 1, "loss": "least-squares"}
    trained = [
        train(tiny_model("cnn", **changes), fashion, tmp_path / f"{i}").network.body[0].weight
        for i, changes in enumerate(
            [
                {},
                {"adversarial": {**adversarial, "weight": 1e-9}},
                {"adversarial": {**adversarial, "weight": 0.1}},
            ]
        )
    ]
    torch.testing.assert_close(trained[0], trained[1], atol=1e-3, rtol=0)
    assert not torch.allclose(trained[0], trained[2], atol=1e-3, rtol=0)


# -- unpaired images ---------------------------------------------------------------------------


def all_of(batches, num_images):
    return {
        x.numpy().tobytes() for start in range(0, num_images, BATCH) for x in batches.at(start)[0]
    }


@pytest.mark.parametrize("limit", [None, 101])
def test_no_image_is_both_clean_and_degraded_and_none_is_left_out(fashion, tmp_path, limit):
    model = tiny_model("translation", data={"limit": limit})
    clean, damaged = (
        all_of(part, 800) for part in unpaired_batches(model, fashion, None, session(tmp_path))
    )
    count = limit or len(fashion.images("train"))
    every = {x.numpy().tobytes() for x in to_images(fashion.images("train")[:count], CPU)}
    assert clean | damaged == every
    assert not clean & damaged
    assert abs(len(clean) - len(damaged)) <= 1


def test_damaged_pictures_come_from_their_own_dataset(fashion, tmp_path):
    class Inverted:
        info = fashion.info

        def images(self, split):
            return 255 - fashion.images(split)[:]

        def labels(self, split):
            return None

    model = tiny_model("translation", degradation=None, damaged="inverted")
    clean, damaged = unpaired_batches(model, fashion, Inverted(), session(tmp_path))
    assert len(all_of(clean, 800)) == len(all_of(damaged, 800)) == len(fashion.images("train"))
    assert damaged.at(0)[0].mean() > 0.6 > 0.4 > clean.at(0)[0].mean()

    shown = {}
    trained = train_translation(
        model,
        fashion,
        Session(CPU, 7, Checkpoints(tmp_path, "tiny"), ignore, shown.__setitem__),
        Inverted(),
    )
    y_BCHW = to_images(Inverted().images("validation")[:8], CPU)
    assert torch.equal(shown[192][:8], y_BCHW)
    torch.testing.assert_close(shown[192][8:], trained.network(y_BCHW).clamp(0, 1))


def test_the_damaging_generator_makes_other_damage_of_other_noise():
    damage, x_BCHW = torch.nn.Conv2d(6, 6, 1), torch.rand(2, 3, 37, 31)
    z_BCHW = torch.randn(x_BCHW.shape)
    one, other = damaged_by(damage, x_BCHW, z_BCHW), damaged_by(damage, x_BCHW, -z_BCHW)
    assert one.shape == x_BCHW.shape
    assert not torch.allclose(one, other)


def test_the_parts_of_the_generators_loss_are_summed_by_their_weights():
    model = tiny_model(
        "translation",
        adversarial={"weight": 1000.0, "width": 4, "layers": 1},
        cycle_weight=100.0,
        identity_weight=10.0,
    )
    parts = {"adversarial": 1, "cycle": 2, "cycle_back": 3, "identity": 4}
    assert (
        weighted({name: torch.tensor(float(part)) for name, part in parts.items()}, model)
        == 1000 + 200 + 300 + 40
    )


def test_the_identity_loss_is_computed_where_it_has_a_weight(fashion, tmp_path):
    for weight in (0.0, 2.0):
        logged = {}
        model = tiny_model("translation", identity_weight=weight)
        train(model, fashion, tmp_path / f"{weight}", on_log=logged.__setitem__)
        assert ("identity" in logged[16]) == (weight > 0)
        assert {"adversarial", "cycle", "cycle_back", "d_clean", "d_damaged"} <= logged[16].keys()


def test_a_translation_undoes_the_damage_of_pictures_whose_originals_it_never_saw(
    fashion, tmp_path
):
    pixels_NHWC = fashion.images("train")[:]
    clean_NHWC, hidden_NHWC = pixels_NHWC[::2], pixels_NHWC[1::2]
    clean, dark = (
        ArrayImages(fashion.info, images_NHWC, np.zeros(len(images_NHWC), np.int64))
        for images_NHWC in (clean_NHWC, hidden_NHWC // 2)
    )
    training = {
        "kimg": 1.92,
        "lr": 5e-3,
        "betas": [0.5, 0.99],
        "augment": {},
        "sample_every_kimg": 9.0,
    }
    model = tiny_model("translation", training=training, degradation=None, damaged="dark")
    network = train_translation(model, clean, session(tmp_path), dark).network
    x_NCHW, y_NCHW = to_images(hidden_NHWC, CPU), to_images(hidden_NHWC // 2, CPU)
    assert (network(y_NCHW) - x_NCHW).square().mean() < 0.6 * (y_NCHW - x_NCHW).square().mean()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_logged_losses_of_a_translation_are_of_the_whole_batch(fashion, tmp_path, accumulate):
    model = tiny_model("translation", training={"accumulate": accumulate, "kimg": 0.048})
    logged = []

    def on_log(images_seen, values):
        if "loss" in values:
            logged.append({name: torch.tensor(value) for name, value in values.items()})

    train(model, fashion, tmp_path, on_log=on_log)
    assert len(logged) == 3
    for values in logged:
        parts = {name: values[name] for name in ("adversarial", "cycle", "cycle_back", "identity")}
        torch.testing.assert_close(weighted(parts, model), values["loss"])
