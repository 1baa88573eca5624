"""Scores of generated images: against torchmetrics, by hand, and the names they come under."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from atelier.errors import EvaluationError
from atelier.metrics.directions import score_name
from atelier.metrics.distances import fd, kid
from atelier.metrics.generation import (
    class_accuracy,
    class_balance,
    classifier_scores,
    distance_scores,
    inception_score,
    rarest_class,
)
from atelier.metrics.neighbours import neighbour_scores
from atelier.params.extractors import NUM_FEATURES
from atelier.params.measures import distances


class Identity(torch.nn.Module):
    """Passes logits through as if it had computed them."""

    num_features = 10

    def forward(self, logits):
        return logits


def _probabilities(num_images=500, num_classes=10, scale=2.0, seed=0):
    logits = (
        np.random.default_rng(seed).normal(size=(num_images, num_classes)).astype(np.float32)
        * scale
    )
    return torch.from_numpy(logits).softmax(dim=1).numpy(), logits


def _features(num_images, seed):
    return np.random.default_rng(seed).normal(size=(num_images, 6)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:Metric `Inception")  # it tells that it keeps all features
@pytest.mark.filterwarnings(
    "ignore:std"
)  # torchmetrics also takes the standard deviation over its one split
def test_inception_score_equals_torchmetrics():
    probabilities, logits = _probabilities()
    reference = InceptionScore(feature=Identity(), splits=1)
    reference.update(torch.from_numpy(logits))
    assert inception_score(probabilities, 0.95, seed=0).value == pytest.approx(
        reference.compute()[0].item(), rel=1e-4
    )


def test_inception_score_spans_one_to_the_number_of_classes():
    even, sure = (
        np.full((40, 10), 0.1, dtype=np.float32),
        np.eye(10, dtype=np.float32).repeat(4, axis=0),
    )
    one_class_only = np.eye(10, dtype=np.float32)[[3] * 40]
    assert inception_score(even, 0.95, seed=0).value == pytest.approx(1.0)
    assert inception_score(one_class_only, 0.95, seed=0).value == pytest.approx(1.0)
    best = inception_score(sure, 0.95, seed=0)
    assert best.value == pytest.approx(10.0) and best.high == pytest.approx(10.0) and best.low < 9.9


def test_inception_score_falls_as_the_classifier_gets_less_sure():
    scores = [
        inception_score(_probabilities(scale=scale)[0], 0.95, seed=0).value
        for scale in (8.0, 4.0, 2.0, 1.0)
    ]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1] + 1


def test_inception_score_interval_has_the_width_of_repeated_experiments():
    scores = [inception_score(_probabilities(seed=seed)[0], 0.95, seed=0) for seed in range(60)]
    claimed = np.mean([score.high - score.value for score in scores]) / 1.97
    assert 0.75 < claimed / np.std([score.value for score in scores], ddof=1) < 1.35


def test_inception_score_is_blind_to_order():
    probabilities, _ = _probabilities()
    value = inception_score(probabilities, 0.95, seed=0).value
    assert inception_score(probabilities[::-1], 0.95, seed=0).value == pytest.approx(
        value, rel=1e-12
    )


@pytest.mark.parametrize("wrong", ["logits", "nan", "empty", "flat"])
def test_inception_score_refuses_what_is_no_distribution(wrong):
    probabilities, logits = _probabilities()
    broken = probabilities.copy()
    broken[7, 2] = np.nan
    given = {"logits": logits, "nan": broken, "empty": probabilities[:0], "flat": probabilities[0]}[
        wrong
    ]
    with pytest.raises(EvaluationError, match="softmax, not its logits"):
        inception_score(given, 0.95, seed=0)


def test_class_balance_by_hand():
    assert class_balance(np.arange(100) % 4, 4, 0.95, seed=0).value == pytest.approx(1.0)
    assert class_balance(np.zeros(100, dtype=np.int64), 4, 0.95, seed=0).value == 0.0
    half = class_balance(np.arange(100) % 2, 4, 0.95, seed=0)
    assert half.value == pytest.approx(0.5) and half.low <= 0.5 <= half.high < 0.55
    uneven = np.repeat([0, 1], [75, 25])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert class_balance(uneven, 2, 0.95, seed=0).value == pytest.approx(entropy / math.log(2))


def test_rarest_class_by_hand():
    assert rarest_class(np.arange(100) % 4, 4, 0.95).value == 1.0
    assert rarest_class(np.repeat([0, 1, 2, 3], [40, 30, 20, 10]), 4, 0.95).value == pytest.approx(
        0.4
    )
    missing = rarest_class(np.arange(99) % 3, 4, 0.95)
    # Never seen among 99 images is not proof of absence: Wilson's upper end is z^2 / (n + z^2),
    # times 4 classes.
    assert (missing.value, missing.low) == (0.0, 0.0)
    assert missing.high == pytest.approx(4 * 1.96**2 / (99 + 1.96**2), rel=1e-4)


def test_class_accuracy_by_hand():
    requested = np.repeat(np.arange(5), 8)
    predicted = requested.copy()
    predicted[:10] = 4
    score = class_accuracy(predicted, requested, 0.95)
    assert (score.value, score.num_samples) == (0.75, 40)
    assert 0.55 < score.low < 0.75 < score.high < 0.9


def test_distance_scores_are_the_single_scores_under_their_extractors_name():
    real, fake = _features(300, seed=0), _features(250, seed=1)
    scores = distance_scores(real, fake, 0.9, 5, "classifier")
    near = neighbour_scores(real, fake, 0.9)
    assert scores == {
        "fd_classifier": fd(real, fake, 0.9, seed=5),
        "kid_classifier": kid(real, fake, 0.9, seed=5),
        "precision_classifier": near["precision"],
        "recall_classifier": near["recall"],
        "density_classifier": near["density"],
        "coverage_classifier": near["coverage"],
    }


@pytest.mark.parametrize("extractor", ["classifier", *NUM_FEATURES])
def test_scores_are_called_what_the_gate_may_ask_for(extractor):
    assert list(
        distance_scores(_features(100, 0), _features(100, 1), 0.9, 0, extractor)
    ) == distances(extractor)


def test_only_the_weights_of_inception_give_a_fid():
    assert score_name("fd", "inception") == "fid"
    assert [score_name("kid", "inception"), score_name("fd", "efficientnet")] == [
        "kid_inception",
        "fd_efficientnet",
    ]


def test_fewer_images_than_features_leave_out_the_frechet_distance_alone(caplog):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 60, 60)).astype(np.float32)
    assert list(distance_scores(real, fake, 0.9, 0, "inception")) == distances("inception")[1:]
    assert "fid is left out: 60 images are too few for 60 features" in caplog.text


def test_what_the_classifier_makes_of_generated_images():
    probabilities, _ = _probabilities(num_images=250)
    requested, predicted = np.arange(250) % 10, probabilities.argmax(axis=1)
    without_labels = {
        "is_classifier": inception_score(probabilities, 0.9, seed=5),
        "class_balance": class_balance(predicted, 10, 0.9, seed=5),
        "rarest_class": rarest_class(predicted, 10, 0.9),
    }
    assert classifier_scores(probabilities, None, 0.9, 5) == without_labels
    assert classifier_scores(probabilities, requested, 0.9, 5) == {
        **without_labels,
        "class_accuracy": class_accuracy(predicted, requested, 0.9),
    }


def test_labels_of_other_images_are_refused():
    probabilities, _ = _probabilities(num_images=100)
    with pytest.raises(EvaluationError, match="requested classes"):
        classifier_scores(probabilities, np.zeros(99, dtype=np.int64), 0.95, seed=0)
    with pytest.raises(EvaluationError, match="requested labels: int64 values from 10 to 10"):
        classifier_scores(probabilities, np.full(100, 10), 0.95, seed=0)


@pytest.mark.parametrize(
    ("predicted", "num_classes", "text"),
    [
        ([], 3, "at least 1 image"),
        ([0, 0], 1, "2 classes"),
        ([0, 3], 3, "predicted classes: int64 values from 0 to 3"),
    ],
)
def test_balance_refuses_what_has_no_classes(predicted, num_classes, text):
    for balance in (
        lambda p: class_balance(p, num_classes, 0.95, 0),
        lambda p: rarest_class(p, num_classes, 0.95),
    ):
        with pytest.raises(EvaluationError, match=text):
            balance(np.array(predicted))
