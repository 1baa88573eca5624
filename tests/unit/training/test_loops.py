import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from atelier.data.store import DatasetInfo
from atelier.degradations import degrade_fixed
from atelier.errors import TrainingError
from atelier.losses import GAN_LOSSES, PIXEL_LOSSES, GanLoss
from atelier.networks.discriminators import build_discriminator
from atelier.networks.restorers import build_restorer
from atelier.training.checkpoint import Checkpoints
from atelier.training.datasets import ArrayImages
from atelier.training.pixels import to_images
from atelier.training.restoration import degradation_steps
from atelier.training.schedules import learning_rate
from atelier.training.session import Trained
from tests.support.tiny import (
    BATCH,
    CNN,
    CRNN,
    HALF,
    MASK,
    NOISE,
    PATCH,
    R3_GAN,
    RESNET_GAN,
    tiny_model,
    train,
)
from tests.support.training_logs import Interrupted, Log, assert_equal_weights

DIFF_AUGMENT = {"colour": True, "translation": 0.125, "cutout": 0.5, "probability": 1.0}
ADA = {
    **DIFF_AUGMENT,
    "flip": True,
    "quarter_turns": True,
    "probability": "adaptive",
    "adapt_kimg": 0.1,
}
CASES = {
    "classifier": ("classifier", {}),
    "gan minimax": ("gan", {"loss": "minimax"}),
    "gan non-saturating": ("gan", {"loss": "non-saturating", "r1_gamma": 0.0, "r2_gamma": 0.0}),
    "gan relativistic": ("gan", {"loss": "relativistic"}),
    "gan resnet, hinge": ("gan", {**RESNET_GAN, "loss": "hinge", "r1_gamma": 0.0}),
    "gan r3, wasserstein": (
        "gan",
        {**R3_GAN, "loss": "wasserstein", "r2_gamma": 0.0, "gp_weight": 10.0},
    ),
    "gan with adaptive augmentation": ("gan", {"discriminator_augment": ADA, "r2_gamma": 0.0}),
    "gan with fixed augmentation": (
        "gan",
        {"discriminator_augment": DIFF_AUGMENT, "loss": "hinge", "gp_weight": 1.0},
    ),
    "cnn": ("cnn", {}),
    "cnn, all degradations": ("cnn", {"degradation": [MASK, NOISE, HALF], "loss": "l1"}),
    "crnn": ("crnn", {}),
    "crnn, adversarial, x2": (
        "crnn",
        {"degradation": [MASK, HALF], "adversarial": {**PATCH, "loss": "hinge"}},
    ),
    "translation": ("translation", {}),
    "translation, crops": (
        "translation",
        {
            "degradation": [MASK],
            "identity_weight": 0.0,
            "training": {"crop_size": 20, "augment": {"crop": 2}},
        },
    ),
    "crnn, part of the data, crops, every augmentation": (
        "crnn",
        {
            "data": {"limit": 100},
            "training": {
                "crop_size": 20,
                "augment": {
                    "flip": True,
                    "quarter_turns": True,
                    "rotate": 10,
                    "crop": 2,
                    "cutout": 6,
                },
            },
        },
    ),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Sums of two threads may differ in their last bit from those of one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=CASES.values(), ids=CASES.keys(), scope="module")
def model(request):
    name, changes = request.param
    return tiny_model(name, **changes)


@dataclass(frozen=True)
class Whole:
    """A training that nobody interrupted, and what it left behind."""

    folder: Path
    trained: Trained
    log: Log
    samples: dict[int, torch.Tensor]


@pytest.fixture(scope="module")
def whole(model, fashion, tmp_path_factory):
    """One training of each model for all tests that look at it.

    Its folder is copied to go on from.
    """
    folder = tmp_path_factory.mktemp("whole")
    log = Log()
    samples = {}
    trained = train(model, fashion, folder, on_log=log, on_sample=samples.__setitem__)
    return Whole(folder, trained, log, samples)


def test_an_interrupted_and_resumed_training_ends_bit_identical(model, whole, fashion, tmp_path):
    first_log = Log(stop_at=7 * BATCH)
    second_log = Log()
    with pytest.raises(Interrupted):
        train(model, fashion, tmp_path, on_log=first_log)
    torch.manual_seed(99)  # another process has another state
    resumed = train(model, fashion, tmp_path, on_log=second_log)
    assert_equal_weights(resumed, whole.trained)
    assert resumed.network_config == whole.trained.network_config
    assert list(second_log) == [
        steps * BATCH for steps in range(5, 13)
    ]  # from the checkpoint of step 4
    assert first_log == {images_seen: whole.log[images_seen] for images_seen in first_log}
    assert second_log == {images_seen: whole.log[images_seen] for images_seen in second_log}


def test_a_finished_training_is_not_trained_again(model, whole, fashion, tmp_path):
    log = Log()
    folder = shutil.copytree(whole.folder, tmp_path / "copy")
    assert_equal_weights(train(model, fashion, folder, on_log=log), whole.trained)
    assert log == {}


def test_the_result_is_the_average_frozen_and_in_evaluation_mode(model, whole):
    trained = whole.trained
    state = Checkpoints(whole.folder, "tiny").load()
    assert state["images_seen"] == 12 * BATCH
    average, last = (
        state[name] for name in (("G_ema", "G") if model.kind == "gan" else ("average", "network"))
    )
    best = state["best"]
    registered = best["weights"] if best["is_last_worse"] else average
    for name, weight in trained.network.named_parameters():
        assert torch.equal(weight, registered[name])
        assert not weight.requires_grad
    assert any(not torch.equal(average[name], last[name]) for name in average)
    assert not any(module.training for module in trained.network.modules())


def test_weights_stay_channels_last_through_a_resume(fashion, tmp_path):
    for _ in range(2):
        network = train(tiny_model("crnn"), fashion, tmp_path).network
        kernels = [weight for weight in network.parameters() if weight.dim() == 4]
        assert kernels
        assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_the_seed_decides_the_weights(fashion, tmp_path):
    model = tiny_model("cnn", training={"kimg": 0.032})
    one, same, other = (
        train(model, fashion, tmp_path / f"{i}", seed=s).network for i, s in enumerate((1, 1, 2))
    )
    assert torch.equal(one.body[0].weight, same.body[0].weight)
    assert not torch.equal(one.body[0].weight, other.body[0].weight)


@pytest.mark.parametrize("flip", [True, False])
def test_flipping_is_as_asked(fashion, tmp_path, flip):
    info = DatasetInfo(28, 1, 10, fashion.info.class_names, fashion.info.counts)
    left = np.zeros((BATCH, 28, 28, 1), np.uint8)
    left[:, :, :14] = 255
    flipped = []

    def look(x_hat_BCHW, x_BCHW):
        flipped.extend((x_BCHW[:, 0, 0, 0] == 0).tolist())
        return functional.mse_loss(x_hat_BCHW, x_BCHW)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PIXEL_LOSSES, "l2", look)
        model = tiny_model("cnn", training={"augment": {"flip": flip}, "kimg": 0.064})
        train(model, ArrayImages(info, left, np.zeros(BATCH, np.int64)), tmp_path)
    assert any(flipped) == flip
    assert not all(flipped)


@pytest.fixture
def trained_on(monkeypatch, tmp_path):
    """`trained_on(dataset, training, ...)` trains a restorer and gives all the clean images that it
    was shown."""

    def run(dataset, training, **changes):
        shown = []

        def look(x_hat_BCHW, x_BCHW):
            shown.append(x_BCHW)
            return functional.mse_loss(x_hat_BCHW, x_BCHW)

        monkeypatch.setitem(PIXEL_LOSSES, "l2", look)
        train(tiny_model("cnn", training=training, **changes), dataset, tmp_path)
        return torch.cat(shown)

    return run


def test_a_restorer_learns_from_crops_of_photographs_of_their_own_size(photos, trained_on):
    x_BCHW = trained_on(photos, {"crop_size": 24, "augment": {}})
    assert x_BCHW.shape == (192, 3, 24, 24)
    windows = [
        np.lib.stride_tricks.sliding_window_view(photos.images("train")[i], (24, 24, 3))
        for i in range(6)
    ]
    corners = {
        window[0, 0].tobytes() for photo in windows for window in photo.reshape(-1, 24, 24, 3)
    }
    found = [
        (x_CHW * 255).round().byte().permute(1, 2, 0).numpy()[0, 0].tobytes() in corners
        for x_CHW in x_BCHW
    ]
    assert sum(found) > 20  # six of the 36 training photographs


def test_an_interrupted_training_on_photographs_ends_bit_identical(photos, tmp_path):
    model = tiny_model(
        "cnn", training={"crop_size": 24, "augment": {"rotate": 10}}, degradation=[NOISE, HALF]
    )
    whole = train(model, photos, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(model, photos, tmp_path / "cut", on_log=Log(stop_at=7 * BATCH))
    assert_equal_weights(train(model, photos, tmp_path / "cut"), whole)


def test_a_limited_training_sees_the_same_few_images_again_and_again(fashion, trained_on):
    x_BCHW = trained_on(fashion, {"augment": {}}, data={"limit": 20})
    first_NCHW = to_images(fashion.images("train")[:20], torch.device("cpu"))
    assert {x.numpy().tobytes() for x in x_BCHW} == {x.numpy().tobytes() for x in first_NCHW}


@pytest.mark.parametrize("crop_size", [None, 20])
def test_images_are_cut_out_in_training_and_whole_in_validation(fashion, tmp_path, crop_size):
    samples = []
    model = tiny_model("cnn", training={"augment": {"cutout": 12}, "crop_size": crop_size})
    train(model, fashion, tmp_path, on_sample=lambda images_seen, x_BCHW: samples.append(x_BCHW))
    border = 0 if crop_size is None else 4
    pixels_NHWC = fashion.images("validation")[:8][:, border : 28 - border, border : 28 - border]
    assert torch.equal(samples[0][:8], to_images(pixels_NHWC, torch.device("cpu")))


@pytest.mark.parametrize("name", ["classifier", "gan", "cnn"])
def test_every_loop_augments(fashion, tmp_path, name):
    plain, flipped = (
        train(
            tiny_model(name, training={"augment": {"flip": flip}, "kimg": 0.032}),
            fashion,
            tmp_path / f"{flip}",
        )
        for flip in (False, True)
    )
    with pytest.raises(AssertionError):
        assert_equal_weights(plain, flipped)


def test_the_adaptive_strength_is_logged_and_goes_on_from_the_checkpoint(fashion, tmp_path):
    model = tiny_model(
        "gan", discriminator_augment={**ADA, "target": 0.05}, loss="non-saturating", r1_gamma=0.0
    )
    whole, cut, resumed = Log(), Log(stop_at=7 * BATCH), Log()
    train(model, fashion, tmp_path / "whole", on_log=whole)
    with pytest.raises(Interrupted):
        train(model, fashion, tmp_path / "cut", on_log=cut)
    state = Checkpoints(tmp_path / "cut", "tiny").load()["augment"]
    at_checkpoint = whole[4 * BATCH]["augment_probability"]
    assert at_checkpoint > 0
    assert state["probability"].item() == at_checkpoint
    train(model, fashion, tmp_path / "cut", on_log=resumed)
    assert list(resumed.curve("augment_probability")) == list(
        whole.curve("augment_probability")[4:]
    )
    assert list(resumed.curve("overfitting")) == list(whole.curve("overfitting")[4:])
    assert len(set(whole.curve("augment_probability"))) > 3


def test_all_that_the_discriminator_sees_is_augmented_and_the_generator_learns_through_it(
    fashion, tmp_path
):
    seen = []

    def watching(**config):
        D = build_discriminator(**config)
        D.register_forward_pre_hook(lambda D, inputs: seen.append(inputs[0]))
        return D

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atelier.training.gan.build_discriminator", watching)
        changes = {
            "discriminator_augment": {"cutout": 0.8, "probability": 1.0},
            "r1_gamma": 0.0,
            "r2_gamma": 0.0,
        }
        train(tiny_model("gan", training={"kimg": 0.048}, **changes), fashion, tmp_path)
    assert (
        len(seen) == 3 * 4
    )  # relativistic: real and generated images, in the step of either network
    holes = [(x_BCHW == 0).flatten(1) for x_BCHW in seen]
    assert min(hole_BP.float().mean(dim=1).min() for hole_BP in holes) > 0.1
    assert [x_BCHW.requires_grad for x_BCHW in seen] == [False, False, False, True] * 3
    assert len({hole_BP.numpy().tobytes() for hole_BP in holes}) == len(
        holes
    )  # each time other holes


LONGER = {"kimg": 0.96, "lr": 5e-3, "sample_every_kimg": 9.0, "augment": {}}  # sixty steps


@pytest.mark.parametrize("name", ["classifier", "cnn"])
def test_the_loss_goes_down_on_real_images(fashion, tmp_path, name):
    log = Log()
    train(tiny_model(name, training=LONGER), fashion, tmp_path, on_log=log)
    loss = log.curve("loss")
    assert len(loss) == 60
    assert loss[-15:].mean() < 0.75 * loss[:5].mean()


def test_the_loss_of_a_crnn_goes_down_and_its_iterations_improve(fashion, tmp_path):
    model = tiny_model("crnn", training=LONGER, degradation=[NOISE], network={**CRNN, "width": 8})
    log = Log()
    network = train(model, fashion, tmp_path, on_log=log).network
    assert log.curve("loss")[-15:].mean() < 0.85 * log.curve("loss")[:5].mean()
    x_NCHW = to_images(fashion.images("test")[:], torch.device("cpu"))
    y_NCHW = degrade_fixed(x_NCHW, degradation_steps(model), range(len(x_NCHW)))
    with torch.inference_mode():
        estimates = [y_NCHW, *network.estimates(y_NCHW)]
    degraded, first, *_, last = [
        (x_hat_NCHW - x_NCHW).square().mean().item() for x_hat_NCHW in estimates
    ]
    assert last < 0.95 * first < 0.9 * degraded


def test_generated_images_become_like_real_ones(fashion, tmp_path):
    pictures = []
    model = tiny_model(
        "gan", training={**LONGER, "betas": [0.0, 0.99], "sample_every_kimg": 0.48}, r2_gamma=0.0
    )
    train(model, fashion, tmp_path, on_sample=lambda images_seen, x_BCHW: pictures.append(x_BCHW))
    mean_CHW = to_images(fashion.images("train")[:], torch.device("cpu")).mean(dim=0)
    grey_CHW = torch.full_like(mean_CHW, 0.5)  # what an untrained generator draws
    assert (pictures[-1].mean(dim=0) - mean_CHW).square().mean() < 0.3 * (
        grey_CHW - mean_CHW
    ).square().mean()


def test_validation_scores_and_samples_come_when_asked(model, whole):
    log = whole.log
    samples = whole.samples
    assert list(log) == [steps * BATCH for steps in range(1, 13)]
    validated = [
        seen for seen, values in log.items() if any(key.startswith("validation/") for key in values)
    ]
    assert validated == ([] if model.kind == "gan" else [96, 192])
    assert list(samples) == ([] if model.kind == "classification" else [96, 192])
    for x_BCHW in samples.values():
        side = model.training.crop_size or 28
        assert x_BCHW.shape == (80 if model.kind == "gan" else 16, 1, side, side)
        assert (x_BCHW.min() >= 0, x_BCHW.max() <= 1) == (True, True)


def fails_at(step, loss):
    """The same loss, but NaN at its step-th call."""
    calls = []

    def failing(*arguments):
        calls.append(arguments)
        return loss(*arguments) * (float("nan") if len(calls) == step else 1)

    return failing


def failing_loss(side, patch):
    """Break one loss at step 7; returns the model that meets it.

    A GAN's are called once more a step, for its log.
    """
    if side == "cross_entropy":
        patch.setattr(functional, "cross_entropy", fails_at(7, functional.cross_entropy))
        return tiny_model("classifier")
    if side == "l2":
        patch.setitem(PIXEL_LOSSES, "l2", fails_at(7, PIXEL_LOSSES["l2"]))
        return tiny_model("cnn")
    sides = GAN_LOSSES["minimax"]._asdict()
    patch.setitem(GAN_LOSSES, "minimax", GanLoss(**{**sides, side: fails_at(13, sides[side])}))
    return tiny_model("gan", loss="minimax")


@pytest.mark.parametrize(
    ("side", "name"),
    [
        ("cross_entropy", "the cross-entropy"),
        ("discriminator", "the discriminator's loss"),
        ("generator", "the generator's loss"),
        ("l2", "the l2 loss"),
    ],
)
def test_a_loss_that_is_not_finite_once_is_survived_at_half_the_learning_rate(
    fashion, tmp_path, side, name
):
    notes, log = [], Log()
    with pytest.MonkeyPatch.context() as patch:
        model = failing_loss(side, patch)
        train(
            model,
            fashion,
            tmp_path,
            on_log=log,
            on_note=lambda images_seen, note: notes.append(note),
        )
    assert notes == [
        f"{name} became nan after 0.1 kimg: back to 0.1 kimg, on at 0.5 times the learning rate"
    ]
    assert list(log) == [steps * BATCH for steps in range(1, 13)]
    rates = log.curve("lr") / [learning_rate(2e-3, steps * BATCH, 192, 48) for steps in range(12)]
    assert rates == pytest.approx(
        [1] * 4 + [0.5] * 8
    )  # the steps after the checkpoint were done a second time


def test_a_learning_rate_that_diverges_is_stopped(model, fashion, tmp_path):
    wild = model.model_copy(
        update={"training": model.training.model_copy(update={"lr": 1e30, "warmup_kimg": 0.0})}
    )
    with pytest.raises(TrainingError, match=r"^the .* became (nan|-?inf) after 0\.0 kimg"):
        train(wild, fashion, tmp_path)


@pytest.mark.parametrize("num_classes", [0, 1])
def test_a_classifier_needs_two_classes(tmp_path, num_classes):
    info = DatasetInfo(28, 1, num_classes, ("only",) * num_classes, {})
    images = ArrayImages(info, np.zeros((BATCH, 28, 28, 1), np.uint8), np.zeros(BATCH, np.int64))
    with pytest.raises(
        TrainingError, match=rf"at least two classes, the dataset 'fashion' has {num_classes}\."
    ):
        train(tiny_model("classifier"), images, tmp_path)


def test_a_gan_without_classes_is_unconditional(tmp_path):
    info = DatasetInfo(16, 3, 0, (), {})
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 16, 16, 3), np.uint8)
    trained = train(
        tiny_model("gan"), ArrayImages(info, pixels, np.zeros(BATCH, np.int64)), tmp_path
    )
    assert trained.network_config["num_classes"] == 1
    assert trained.network(torch.randn(2, 8), torch.zeros(2, dtype=torch.int64)).shape == (
        2,
        3,
        16,
        16,
    )


def test_a_gan_can_leave_the_classes_of_its_pictures_aside(fashion, tmp_path):
    pictures = []
    trained = train(
        tiny_model("gan", conditional=False),
        fashion,
        tmp_path,
        on_sample=lambda seen, x_BCHW: pictures.append(x_BCHW),
    )
    assert trained.network_config["num_classes"] == 1
    assert pictures[0].shape == (8, 1, 28, 28)


def test_a_gan_that_is_to_be_asked_for_classes_needs_some(tmp_path):
    images = ArrayImages(
        DatasetInfo(28, 1, 0, (), {}), np.zeros((BATCH, 28, 28, 1), np.uint8), np.zeros(BATCH, int)
    )
    with pytest.raises(
        TrainingError,
        match=r"conditional: true needs at least two classes, the dataset 'fashion' has 0",
    ):
        train(tiny_model("gan", conditional=True), images, tmp_path)


def test_a_restorer_that_is_told_the_noise_level_learns_from_the_level_of_each_image(
    fashion, tmp_path
):
    told = []

    def listening(**config):
        network = build_restorer(**config)
        estimates = network.estimates
        network.estimates = lambda y, sigma: told.append(sigma) or estimates(y, sigma)
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atelier.training.restoration.build_restorer", listening)
        network, degradation = {**CNN, "noise_level": True}, [{"noise": {"sigma": [0.05, 0.3]}}]
        train(tiny_model("cnn", network=network, degradation=degradation), fashion, tmp_path)
    sigmas = torch.cat(told)
    assert sigmas.shape == (192,)
    assert sigmas.min() > 0.05 and sigmas.max() < 0.3 and sigmas.std() > 0.05
