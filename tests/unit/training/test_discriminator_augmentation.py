"""What a discriminator sees of images.

Each change by its own, differentiable and as probable as asked.
"""

import math

import pytest
import torch
from torch.nn import functional

from atelier.losses import GAN_LOSSES, gradient_penalty
from atelier.params import DiscriminatorAugment
from atelier.training.discriminator_augmentation import (
    DRAWS,
    LEAK_FREE,
    DiscriminatorAugmentation,
    randomly_changed,
)

NUM_IMAGES = 400
EACH = [
    {"flip": True},
    {"quarter_turns": True},
    {"colour": True},
    {"translation": 0.125},
    {"cutout": 0.5},
]
ALL = {key: value for one in EACH for key, value in one.items()}


def ids(wanted):
    return " ".join(wanted)


@pytest.fixture(params=[(1, 28, 28), (3, 24, 24)], ids=["grey", "colour"])
def x_BCHW(request):
    rng = torch.Generator().manual_seed(1)
    x_BCHW = torch.rand((NUM_IMAGES, *request.param), generator=rng) * 2 - 1
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def augmentation(probability=1.0, seed=0, boundary=0.0, **wanted):
    record = DiscriminatorAugment(probability=probability, **wanted)
    return DiscriminatorAugmentation(record, boundary, torch.Generator().manual_seed(seed))


def changed(x_BCHW, probability=1.0, seed=0, **wanted):
    return augmentation(probability, seed, **wanted)(x_BCHW)


def which(candidates, x_BCHW):
    """For each image the number of the one candidate that it equals."""
    equal_KB = torch.stack([(candidate == x_BCHW).flatten(1).all(1) for candidate in candidates])
    assert (equal_KB.sum(0) == 1).all()
    return equal_KB.int().argmax(0)


def share_changed(x_BCHW, result_BCHW):
    return (x_BCHW != result_BCHW).flatten(1).any(1).float().mean().item()


def translations(x_BCHW, most):
    """Each image moved by each number of pixels: what comes in is zero."""
    padded_BCHW = functional.pad(x_BCHW, (most,) * 4)
    height, width = x_BCHW.shape[-2:]
    places = range(2 * most + 1)
    return [
        padded_BCHW[..., top : top + height, left : left + width]
        for top in places
        for left in places
    ]


# -- each change -------------------------------------------------------------------------------


def test_without_parameters_images_generator_and_log_stay_as_they_are(x_BCHW):
    rng = torch.Generator().manual_seed(5)
    before, augment = rng.get_state(), DiscriminatorAugmentation(None, 0.0, rng)
    assert augment(x_BCHW) is x_BCHW
    augment.observe(torch.ones(4), torch.ones(4))
    assert torch.equal(rng.get_state(), before)
    assert augment.values() == {}


@pytest.mark.parametrize("wanted", [*EACH, ALL], ids=ids)
def test_with_probability_zero_no_bit_changes_but_as_many_numbers_are_drawn(x_BCHW, wanted):
    adaptive, always = augmentation("adaptive", **wanted), augmentation(1.0, **wanted)
    result_BCHW = adaptive(x_BCHW)  # begins at 0
    assert torch.equal(result_BCHW, x_BCHW)
    assert result_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(always(x_BCHW), x_BCHW)
    assert torch.equal(adaptive._rng.get_state(), always._rng.get_state())
    assert not torch.equal(adaptive._rng.get_state(), torch.Generator().manual_seed(0).get_state())


@pytest.mark.parametrize("wanted", [*EACH, ALL], ids=ids)
def test_the_result_is_a_function_of_the_images_and_the_generator(x_BCHW, wanted):
    before = x_BCHW.clone()
    one, same, other = (changed(x_BCHW, 0.7, seed, **wanted) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(x_BCHW, before)
    assert one.shape == x_BCHW.shape and one.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("wanted", [{"translation": 0.125}, {"cutout": 0.5}], ids=ids)
@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_a_change_is_as_frequent_as_asked_and_the_other_images_are_untouched(
    x_BCHW, wanted, probability
):
    share = share_changed(x_BCHW, changed(x_BCHW, probability, **wanted))
    assert abs(share - probability) < 4 * math.sqrt(0.25 / NUM_IMAGES)


def test_real_and_generated_images_get_changes_of_their_own(x_BCHW):
    augment = augmentation(translation=0.125)
    assert not torch.equal(augment(x_BCHW), augment(x_BCHW))


def test_changes_of_an_image_are_independent_of_each_other(x_BCHW):
    """Of two changes with probability p neither is done to (1 - p)^2 of the images.

    A generator can't hide in them.
    """
    draws_BKN = torch.rand(4000, *DRAWS, generator=torch.Generator().manual_seed(3))
    images_BCHW = x_BCHW[:1].expand(4000, -1, -1, -1)
    wanted = DiscriminatorAugment(probability=1.0, translation=0.125, cutout=0.5)
    result_BCHW = randomly_changed(images_BCHW, draws_BKN, torch.tensor(0.6), wanted)
    assert 0.84 - 0.03 < share_changed(images_BCHW, result_BCHW) < 0.84 + 0.03


def test_half_of_the_flips_mirror_left_to_right_and_more_images_stay_than_not(
    x_BCHW,
):
    mirrored = (
        which([x_BCHW, x_BCHW.flip(-1)], changed(x_BCHW, 1.0, flip=True)).float().mean().item()
    )
    assert abs(mirrored - LEAK_FREE / 2) < 4 * math.sqrt(0.24 / NUM_IMAGES)


def test_quarter_turns_are_exact_and_the_original_is_the_most_frequent_even_at_probability_one(
    x_BCHW,
):
    turned = [x_BCHW.rot90(turns, (-2, -1)) for turns in range(4)]
    shares = (
        which(turned, changed(x_BCHW, 1.0, quarter_turns=True)).bincount(minlength=4) / NUM_IMAGES
    )
    expected = torch.tensor([1 - LEAK_FREE * 3 / 4, *[LEAK_FREE / 4] * 3])
    assert (shares - expected).abs().max() < 4 * math.sqrt(0.24 / NUM_IMAGES)


@pytest.mark.parametrize("share", [0.125, 0.01])
def test_translation_moves_by_whole_pixels_up_to_the_share_with_zeros_behind(x_BCHW, share):
    most = max(1, round(share * x_BCHW.shape[-1]))
    candidates = translations(x_BCHW, most)
    moved = which(candidates, changed(x_BCHW, translation=share))
    assert len(moved.unique()) >= 0.95 * len(candidates)


def test_translation_moves_images_that_are_not_square():
    x_BCHW = torch.rand((NUM_IMAGES, 3, 31, 37), generator=torch.Generator().manual_seed(1))
    result_BCHW = changed(x_BCHW, translation=0.1)
    padded_BCHW = functional.pad(x_BCHW, (4, 4, 3, 3))
    windows = [
        padded_BCHW[..., top : top + 31, left : left + 37] for top in range(7) for left in range(9)
    ]
    assert len(which(windows, result_BCHW).unique()) > 55


def test_cutout_is_one_grey_box_of_the_share_about_any_pixel(x_BCHW):
    result_BCHW, side = changed(x_BCHW, cutout=0.5), x_BCHW.shape[-1]
    sizes = []
    for image_CHW, result_CHW in zip(x_BCHW, result_BCHW, strict=True):
        rows, columns = (result_CHW != image_CHW).all(0).nonzero(as_tuple=True)
        height, width = rows.max() + 1 - rows.min(), columns.max() + 1 - columns.min()
        expected_CHW = image_CHW.clone()
        expected_CHW[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 0
        assert torch.equal(result_CHW, expected_CHW)
        sizes.append((int(height), int(width)))
    assert max(max(size) for size in sizes) == side // 2
    assert side // 4 <= min(min(size) for size in sizes) < side // 2  # over the border it is cut


def colour_factors(x_CHW, result_CHW):
    """Brightness, saturation and contrast by least squares from one image before and after."""
    mean_CHW = x_CHW.mean() * torch.ones_like(x_CHW)
    grey_CHW = x_CHW.mean(0, keepdim=True).expand_as(x_CHW)
    columns = torch.stack(
        [part.flatten() for part in (x_CHW - grey_CHW, grey_CHW - mean_CHW, mean_CHW * 0 + 1)],
        dim=1,
    )
    spread, contrast, level = torch.linalg.lstsq(
        columns.double(), result_CHW.flatten()[:, None].double()
    ).solution
    fitted = columns.double() @ torch.stack([spread, contrast, level])
    torch.testing.assert_close(fitted[:, 0].float(), result_CHW.flatten(), atol=1e-4, rtol=0)
    return torch.cat([level - x_CHW.mean(), spread / contrast, contrast])


def test_colour_changes_brightness_saturation_and_contrast_within_the_ranges_of_the_paper():
    x_BCHW = torch.rand((NUM_IMAGES, 3, 16, 16), generator=torch.Generator().manual_seed(1)) * 2 - 1
    result_BCHW = changed(x_BCHW, colour=True)
    factors_B3 = torch.stack(
        [colour_factors(*pair) for pair in zip(x_BCHW, result_BCHW, strict=True)]
    )
    low, high = torch.tensor([-0.5, 0.0, 0.5]), torch.tensor([0.5, 2.0, 1.5])
    assert ((factors_B3 >= low - 1e-3) & (factors_B3 <= high + 1e-3)).all()
    middle, spread = (low + high) / 2, (high - low) / math.sqrt(12)  # of a uniform distribution
    assert ((factors_B3.mean(0) - middle).abs() < 4 * spread / math.sqrt(NUM_IMAGES)).all()
    assert ((factors_B3.std(0) / spread - 1).abs() < 0.1).all()
    assert factors_B3.T.corrcoef().fill_diagonal_(0).abs().max() < 0.2


def test_the_three_colour_changes_are_done_or_not_one_by_one():
    x_BCHW = torch.rand((NUM_IMAGES, 3, 16, 16), generator=torch.Generator().manual_seed(1)) * 2 - 1
    result_BCHW = changed(x_BCHW, 0.4, colour=True)
    factors_B3 = torch.stack(
        [colour_factors(*pair) for pair in zip(x_BCHW, result_BCHW, strict=True)]
    )
    done_B3 = (factors_B3 - torch.tensor([0.0, 1.0, 1.0])).abs() > 1e-4
    assert ((done_B3.float().mean(0) - 0.4).abs() < 4 * math.sqrt(0.24 / NUM_IMAGES)).all()
    assert len(done_B3.unique(dim=0)) == 8


# -- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [*EACH, ALL], ids=ids)
def test_gradients_of_first_and_second_order_are_those_of_finite_differences(wanted):
    x_BCHW = torch.randn(
        3, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    x_BCHW.requires_grad_(True)

    def function(x_BCHW):
        return changed(x_BCHW, 0.8, **wanted).square()

    assert torch.autograd.gradcheck(function, x_BCHW)
    assert torch.autograd.gradgradcheck(function, x_BCHW)


@pytest.mark.parametrize("wanted", [*EACH, ALL], ids=ids)
def test_a_generator_learns_through_the_changes(x_BCHW, wanted):
    x_BCHW.requires_grad_(True)
    changed(x_BCHW, 0.7, **wanted).sum().backward()
    reached = (x_BCHW.grad != 0).float().mean()
    assert reached > (
        0.6 if "cutout" in wanted else 0.85
    )  # what is cut out or moved outside can't be learnt from


def test_gradients_are_the_same_bits_in_deterministic_mode(x_BCHW):
    def gradient():
        leaf_BCHW = x_BCHW.clone().requires_grad_(True)
        changed(leaf_BCHW, **ALL).square().sum().backward()
        return leaf_BCHW.grad

    usual = gradient()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(gradient(), usual)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_gradient_penalty_reaches_the_discriminator_through_the_changes(x_BCHW):
    slope = torch.nn.Parameter(torch.tensor(2.0))
    x_BCHW.requires_grad_(True)
    seen_BCHW = changed(x_BCHW, cutout=0.5)
    penalty_B = gradient_penalty((slope / 2 * seen_BCHW.square()).sum(dim=(1, 2, 3)), x_BCHW)
    torch.testing.assert_close(
        penalty_B, (slope * seen_BCHW).square().sum(dim=(1, 2, 3))
    )  # no slope where it is cut
    penalty_B.sum().backward()
    assert slope.grad > 0


# -- the adaptive probability ------------------------------------------------------------------


def watched(logits, num_steps=1, batch_size=100, **wanted):
    """An adaptive augmentation with adapt_kimg 10 that has seen these (real, generated) logits in
    every step."""
    augment = augmentation("adaptive", colour=True, adapt_kimg=10.0, **wanted)
    for _ in range(num_steps):
        augment.observe(*(torch.linspace(*ends, batch_size) for ends in logits))
    return augment


SURE, UNSURE, OVERLAP = (5.0, 6.0), (-1.0, 1.0), (-0.9, 1.1)


@pytest.mark.parametrize("num_steps", [1, 30])
def test_the_probability_rises_while_the_discriminator_knows_all_real_images(num_steps):
    augment = watched((SURE, (-6.0, -5.0)), num_steps)
    assert augment.values() == {
        "augment_probability": pytest.approx(num_steps * 0.01),
        "overfitting": 1.0,
    }


def test_the_probability_goes_from_0_to_1_and_back_in_adapt_kimg_and_not_further():
    augment = watched((SURE, UNSURE), 99)
    assert 0.98 < augment.probability < 0.995
    for logits, expected in [(SURE, 1.0), (UNSURE, 0.0)]:
        for _ in range(110):
            augment.observe(torch.linspace(*logits, 100), torch.zeros(100))
        assert augment.probability == expected


def test_the_probability_falls_while_the_discriminator_is_in_doubt():
    augment = watched((SURE, UNSURE), 50)
    for _ in range(20):
        augment.observe(torch.linspace(*OVERLAP, 100), torch.linspace(*UNSURE, 100))
    # The signal is the mean of four minibatches, so it falls below 0.6 in the second step: 51 up,
    # 19 down.
    assert augment.probability == pytest.approx(0.51 - 0.19)
    assert augment.values()["overfitting"] == pytest.approx(0.1)


@pytest.mark.parametrize(("target", "expected"), [(0.4, 0.05), (0.6, 0.0)])
def test_the_target_decides_what_is_too_sure(target, expected):
    augment = watched(
        ((-1.0, 3.0), UNSURE), 5, target=target
    )  # three of four real images are called real
    assert augment.values()["overfitting"] == pytest.approx(0.5)
    assert augment.probability == pytest.approx(expected)


def test_least_squares_calls_real_what_is_above_one_half():
    assert (
        watched(((0.25, 1.25), UNSURE), boundary=GAN_LOSSES["least-squares"].boundary).recent[-1]
        == 0.5
    )


@pytest.mark.parametrize("loss", ["minimax", "non-saturating", "hinge"])
def test_games_around_zero_count_the_real_images_above_it(loss):
    assert watched(((-1.0, 3.0), SURE), boundary=GAN_LOSSES[loss].boundary).recent[-1] == 0.5


@pytest.mark.parametrize("loss", ["relativistic", "wasserstein"])
@pytest.mark.parametrize("drift", [0.0, 100.0])
def test_games_that_only_compare_count_pairs_whatever_the_logits_of_a_class_have_drifted_to(
    loss, drift
):
    augment = augmentation("adaptive", colour=True, boundary=GAN_LOSSES[loss].boundary)
    level_B = drift * torch.arange(100) % 7  # by class
    right_B = torch.where(torch.arange(100) < 75, 1.0, -1.0)
    augment.observe(level_B + right_B, level_B)
    assert augment.recent[-1] == 0.5


def test_a_fixed_probability_stays_but_its_signal_is_logged():
    augment = augmentation(0.3, colour=True)
    augment.observe(torch.ones(8), -torch.ones(8))
    assert augment.values() == {"augment_probability": pytest.approx(0.3), "overfitting": 1.0}


def test_strength_and_signal_are_restored_from_a_checkpoint(tmp_path):
    augment, other = (
        watched((SURE, UNSURE), 7),
        augmentation("adaptive", colour=True, adapt_kimg=10.0),
    )
    torch.save(augment.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.values() == augment.values()
    for one in (augment, other):
        one.observe(torch.linspace(*OVERLAP, 100), torch.zeros(100))
    assert torch.equal(other.recent, augment.recent) and torch.equal(
        other.probability, augment.probability
    )
