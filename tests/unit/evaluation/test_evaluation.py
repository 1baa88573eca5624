import numpy as np
import pytest
import torch
from torch import nn

from atelier.degradations import degrade_fixed
from atelier.evaluation import common, evaluate_classifier, evaluate_generator, evaluate_restorer
from atelier.evaluation.extractors import classifier_extractor
from atelier.metrics.directions import higher_is_better
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer
from atelier.params.measures import metrics
from tests.support.tiny import HALF, MASK, NOISE, protocol_of, randomised, rows, tiny_model, train

COLUMNS = ["subject", "slice", "metric", "value", "low", "high", "num_samples", "protocol"]
PIXEL_METRICS = ["mse", "psnr", "ssim"]
GAN_METRICS = metrics("gan", "classifier")
CPU = torch.device("cpu")
CLASSIFIER = tiny_model("classifier", training={"kimg": 1.6, "lr": 1e-2, "sample_every_kimg": 9.0})


PROTOCOL = protocol_of()


@pytest.fixture(scope="module")
def classifier(fashion, tmp_path_factory):
    return train(CLASSIFIER, fashion, tmp_path_factory.mktemp("classifier")).network


@pytest.fixture(scope="module")
def extractor(classifier):
    return classifier_extractor(classifier, "classifier/1", CPU)


@pytest.fixture(scope="module")
def seen(fashion, classifier):
    return evaluate_classifier(classifier, fashion, PROTOCOL)


@pytest.fixture(scope="module")
def crnn():
    torch.manual_seed(0)
    return randomised(build_restorer("crnn", width=4, channels=1, iterations=3))


@pytest.fixture(scope="module")
def restored(fashion, classifier, crnn):
    return evaluate_restorer(crnn, [NOISE, MASK], fashion, classifier, PROTOCOL)


@pytest.fixture(scope="module")
def generate():
    """A generator that draws real noise, as the stage hands it over."""
    torch.manual_seed(0)
    network = randomised(
        build_generator("dcgan", channels=1, image_size=28, num_classes=10, latent_dim=8, width=4)
    )

    def draw(num_images, seed):
        labels_M = torch.arange(num_images) % 10
        z_MZ = torch.randn(num_images, 8, generator=torch.Generator().manual_seed(seed))
        return (network(z_MZ, labels_M) * 0.5 + 0.5).numpy(), labels_M.numpy()

    return draw


@pytest.fixture(scope="module")
def generated(fashion, extractor, generate):
    return evaluate_generator(generate, CLASSIFIER, extractor, fashion, PROTOCOL)


@pytest.fixture(params=["classification", "restoration", "gan"])
def every(request):
    """(kind, result) of each evaluation."""
    name = {"classification": "seen", "restoration": "restored", "gan": "generated"}[request.param]
    return request.param, request.getfixturevalue(name)


class Answer(nn.Module):
    """A restorer that knows the clean test images, in their order."""

    def __init__(self, x_NCHW):
        super().__init__()
        self.x_NCHW, self.position = x_NCHW, 0

    def forward(self, y_BCHW):
        start = self.position
        self.position += len(y_BCHW)
        return self.x_NCHW[start : self.position]


def clean(dataset, count=300):
    return torch.from_numpy(dataset.images("test")[:count].copy()).permute(0, 3, 1, 2).float() / 255


def test_the_scores_are_those_that_a_gate_may_name(every):
    kind, evaluated = every
    elsewhere = {"ms_ssim", "lpips"}  # of larger images, of weights that are given
    assert sorted(evaluated.scores) == sorted(set(metrics(kind, "classifier")) - elsewhere)
    assert all(isinstance(higher_is_better(name), bool) for name in evaluated.scores)


def test_every_interval_holds_its_value_and_says_how_it_was_made(every):
    _, evaluated = every
    for score in evaluated.scores.values():
        assert score.low <= score.value <= score.high
        assert np.isfinite([score.low, score.value, score.high]).all()
        assert score.num_samples == 300
        assert "0.95" in score.protocol
    table = evaluated.table
    assert ((table.low <= table.value) & (table.value <= table.high)).all()


def test_the_table_is_tidy_and_holds_every_score_once(every):
    _, evaluated = every
    assert list(evaluated.table.columns) == COLUMNS
    assert not evaluated.table.duplicated(["subject", "slice", "metric"]).any()
    own = rows(evaluated, subject="model", slice="all").set_index("metric")
    assert sorted(own.index) == sorted(evaluated.scores)
    for name, score in evaluated.scores.items():
        assert (own.value[name], own.num_samples[name]) == (score.value, score.num_samples)


def test_pictures_are_bytes_for_people(every):
    _, evaluated = every
    for picture in evaluated.pictures.values():
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.std() > 10


def assert_same(one, other):
    assert one.scores == other.scores
    assert one.table.equals(other.table)
    for name, picture in one.pictures.items():
        np.testing.assert_array_equal(picture, other.pictures[name])


def evaluate_again(kind, request):
    fashion, classifier = request.getfixturevalue("fashion"), request.getfixturevalue("classifier")
    if kind == "classification":
        return evaluate_classifier(classifier, fashion, PROTOCOL)
    if kind == "restoration":
        return evaluate_restorer(
            request.getfixturevalue("crnn"), [NOISE, MASK], fashion, classifier, PROTOCOL
        )
    generate, extractor = request.getfixturevalue("generate"), request.getfixturevalue("extractor")
    return evaluate_generator(generate, CLASSIFIER, extractor, fashion, PROTOCOL)


def test_an_evaluation_is_deterministic(every, request):
    kind, evaluated = every
    torch.manual_seed(99)
    assert_same(evaluate_again(kind, request), evaluated)


def test_an_evaluation_does_not_depend_on_its_chunks(every, request, monkeypatch):
    kind, evaluated = every
    monkeypatch.setattr(common, "CHUNK", 37)
    again = evaluate_again(kind, request)
    assert list(again.scores) == list(evaluated.scores)
    for name, score in again.scores.items():
        assert score.value == pytest.approx(evaluated.scores[name].value, rel=1e-4, abs=1e-6)


# -- classification ----------------------------------------------------------------------------


def test_accuracy_is_the_share_of_right_answers(fashion, classifier, seen):
    with torch.inference_mode():
        right = classifier(clean(fashion)).argmax(dim=1).numpy() == fashion.labels("test")[:300]
    assert seen.scores["accuracy"].value == pytest.approx(right.mean())
    assert right.mean() > 0.5  # trained: a guess would be right in one of ten
    assert seen.scores["accuracy"].num_samples == 300


def test_each_class_has_its_recall(fashion, seen):
    recalls = rows(seen, metric="recall")
    assert sorted(recalls.slice) == sorted(f"class:{name}" for name in fashion.info.class_names)
    assert recalls.num_samples.sum() == 300
    assert recalls.value.mean() == pytest.approx(seen.scores["macro_recall"].value)
    weighted = (recalls.value * recalls.num_samples).sum() / 300
    assert weighted == pytest.approx(seen.scores["accuracy"].value)


# -- restoration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "baselines"),
    [
        ([NOISE], ["identity", "median3", "gaussian"]),
        ([MASK], ["identity", "mean_fill", "diffusion_fill"]),
        ([HALF], ["identity", "bicubic"]),
    ],
    ids=["noise", "mask", "downsample"],
)
def test_baselines_stand_beside_the_model_and_a_perfect_restorer_beats_all(
    fashion, steps, baselines
):
    evaluated = evaluate_restorer(Answer(clean(fashion)), steps, fashion, None, PROTOCOL)
    subjects = ["model", *(f"baseline:{name}" for name in baselines)]
    assert list(rows(evaluated, slice="all").subject.unique()) == subjects
    for metric in PIXEL_METRICS:
        values = rows(evaluated, slice="all", metric=metric).set_index("subject").value
        assert sorted(values.index) == sorted(subjects)
        others = values.drop("model")
        assert (
            (others < values["model"]).all()
            if higher_is_better(metric)
            else (others > values["model"]).all()
        )
    best = (
        rows(evaluated, slice="all", metric="psnr").set_index("subject").value.drop("model").max()
    )
    assert evaluated.scores["psnr"].value == 100  # the cap of equal images
    assert evaluated.scores["psnr_gain"].value == pytest.approx(100 - best)
    assert sorted(evaluated.scores) == [
        *PIXEL_METRICS[:2],
        "psnr_gain",
        "ssim",
    ]  # no classifier, no classes


def test_the_identity_gains_nothing_over_itself(fashion, classifier):
    evaluated = evaluate_restorer(nn.Identity(), [MASK], fashion, classifier, PROTOCOL)
    own, baseline = (
        rows(evaluated, subject=name, slice="all", metric="psnr").value.item()
        for name in ("model", "baseline:identity")
    )
    assert own == baseline
    assert evaluated.scores["psnr_gain"].value < 0
    assert evaluated.scores["accuracy_gain"].value == 0
    assert evaluated.scores["accuracy_restored"] == evaluated.scores["accuracy_degraded"]


def test_the_classifier_sees_clean_degraded_and_restored_images(fashion, classifier, seen):
    evaluated = evaluate_restorer(Answer(clean(fashion)), [NOISE], fashion, classifier, PROTOCOL)
    for metric in ("accuracy", "macro_recall", "macro_f1"):
        assert (
            evaluated.scores[f"{metric}_clean"]
            == evaluated.scores[f"{metric}_restored"]
            == seen.scores[metric]
        )
    gain = evaluated.scores["accuracy_clean"].value - evaluated.scores["accuracy_degraded"].value
    assert evaluated.scores["accuracy_gain"].value == pytest.approx(gain)
    assert gain > 0


def test_each_image_is_degraded_by_its_own_content_alone(fashion, monkeypatch):
    seen = []

    class Recorder(nn.Module):
        def forward(self, y_BCHW):
            seen.append(y_BCHW)
            return y_BCHW

    degraded = []
    for chunk, num_images in ((500, 300), (37, 300), (500, 120)):
        monkeypatch.setattr(common, "CHUNK", chunk)
        evaluate_restorer(
            Recorder(), [NOISE, MASK], fashion, None, protocol_of(num_images=num_images)
        )
        degraded.append(torch.cat(seen))
        seen.clear()
    seeds = [int(sha256[:12], 16) for sha256 in fashion.hashes("test")[:300]]
    assert torch.equal(degraded[0], degraded[1])
    assert torch.equal(degraded[0][:120], degraded[2])
    assert torch.equal(degraded[0], degrade_fixed(clean(fashion), [NOISE, MASK], seeds))
    assert len(set(seeds)) == 300


def test_a_recurrent_restorer_is_scored_after_each_iteration(fashion, restored):
    by_iteration = restored.table[restored.table.slice.str.startswith("iterations:")]
    macs = by_iteration[by_iteration.metric == "macs_per_pixel"].value.to_numpy()
    assert macs == pytest.approx(macs[0] * np.array([1, 2, 3]))
    by_iteration = by_iteration[by_iteration.metric == "psnr"]
    assert list(by_iteration.slice) == ["iterations:1", "iterations:2", "iterations:3"]
    assert by_iteration.value.iloc[-1] == pytest.approx(restored.scores["psnr"].value)
    assert by_iteration.value.nunique() == 3


def test_a_restorer_of_one_pass_has_no_iterations(fashion):
    network = build_restorer("cnn", width=4, channels=1, depth=2)
    evaluated = evaluate_restorer(network, [NOISE], fashion, None, PROTOCOL)
    assert not evaluated.table.slice.str.startswith("iterations:").any()


@pytest.mark.parametrize("name", ["cnn", "crnn"])
def test_another_restorer_is_scored_beside_the_model_and_the_difference_is_paired(
    fashion, crnn, name
):
    torch.manual_seed(1)
    other = (
        crnn if name == "crnn" else randomised(build_restorer("cnn", width=4, channels=1, depth=2))
    )
    evaluated = evaluate_restorer(crnn, [NOISE], fashion, None, PROTOCOL, {"other/2": other})
    alone = [
        evaluate_restorer(network, [NOISE], fashion, None, PROTOCOL) for network in (crnn, other)
    ]
    for metric in PIXEL_METRICS:
        (value,) = rows(evaluated, subject="compared:other/2", metric=metric).value
        assert value == pytest.approx(alone[1].scores[metric].value, rel=1e-6)
    assert {**evaluated.scores, "psnr_difference": None} == {
        **alone[0].scores,
        "psnr_difference": None,
    }
    difference = evaluated.scores["psnr_difference"]
    assert difference.value == pytest.approx(
        alone[0].scores["psnr"].value - alone[1].scores["psnr"].value, abs=1e-6
    )
    assert difference.protocol.startswith("paired difference to other/2, dB")
    assert (
        (difference.low, difference.high) == (0, 0)
        if name == "crnn"
        else difference.low < difference.value
    )


def test_another_restorer_is_told_the_noise_level_if_it_asks_for_it(fashion):
    torch.manual_seed(0)
    other = randomised(build_restorer("cnn", width=4, channels=1, depth=2, noise_level=True))
    steps = [{"noise": {"sigma": [0.05, 0.4]}}]
    evaluated = evaluate_restorer(nn.Identity(), steps, fashion, None, PROTOCOL, {"other/2": other})
    alone = evaluate_restorer(other, steps, fashion, None, PROTOCOL)
    (value,) = rows(evaluated, subject="compared:other/2", metric="psnr").value
    assert value == pytest.approx(alone.scores["psnr"].value, rel=1e-6)


# -- generation --------------------------------------------------------------------------------


def test_real_training_images_are_the_floor(generated):
    floor = rows(generated, subject="floor:real training images").set_index("metric").value
    # Nobody asked for their classes, and they are what a generator may not copy.
    without_floor = {"cas", "class_accuracy", "memorisation"}
    assert set(floor.index) == set(GAN_METRICS) - without_floor
    assert floor["fd_classifier"] < generated.scores["fd_classifier"].value
    assert floor["kid_classifier"] < generated.scores["kid_classifier"].value


def test_a_generator_without_classes_is_scored_without_what_needs_them(fashion, extractor):
    def draw(num_images, seed):
        return np.random.default_rng(seed).random((num_images, 1, 28, 28), np.float32), None

    evaluated = evaluate_generator(draw, CLASSIFIER, extractor, fashion, PROTOCOL)
    assert set(evaluated.scores) == set(GAN_METRICS) - {"cas", "class_accuracy"}
    assert list(evaluated.pictures) == ["generated.png", "memorisation.png"]


def test_real_training_images_pass_for_generated_ones_but_are_told_to_be_copies(
    fashion, extractor, generated
):
    labels_N = fashion.labels("train")[:300]
    order = np.argsort(labels_N, kind="stable")

    def draw(num_images, seed):
        pixels_MHWC = fashion.images("train")[order][:num_images]
        return np.moveaxis(pixels_MHWC, -1, 1).astype(np.float32) / 255, labels_N[order][
            :num_images
        ]

    real = evaluate_generator(
        draw, CLASSIFIER, extractor, fashion, protocol_of(cas_kimg=1.6)
    ).scores
    copied, drawn = (scores.pop("memorisation") for scores in (real, dict(generated.scores)))
    assert copied.low > 0.9 > drawn.high
    for metric in real:
        better = real[metric].value - generated.scores[metric].value
        assert better * (1 if higher_is_better(metric) else -1) >= 0, metric
    assert real["class_accuracy"].value > 0.5 > generated.scores["class_accuracy"].value
    assert real["cas"].value > 0.4


def test_what_a_gan_draws_without_its_restorer_stands_beside_it(
    fashion, extractor, generate, generated
):
    def darker(num_images, seed):
        x_MCHW, labels_M = generate(num_images, seed)
        return 0.5 * x_MCHW, labels_M

    evaluated = evaluate_generator(
        generate, CLASSIFIER, extractor, fashion, PROTOCOL, unrefined=darker
    )
    own = {
        name: score
        for name, score in evaluated.scores.items()
        if name != "kid_classifier_difference"
    }
    assert own == generated.scores
    values = rows(evaluated, subject="unrefined").set_index("metric").value
    assert sorted(values.index) == sorted(GAN_METRICS)
    difference = evaluated.scores["kid_classifier_difference"]
    assert difference.value == pytest.approx(own["kid_classifier"].value - values["kid_classifier"])
    assert sorted(evaluated.pictures) == [
        "generated.png",
        "memorisation-unrefined.png",
        "memorisation.png",
        "unrefined.png",
    ]
    assert not higher_is_better("kid_classifier_difference")
