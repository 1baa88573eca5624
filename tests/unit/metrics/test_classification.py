"""Accuracy, macro recall and macro F1.

Against torchmetrics, by hand, and the coverage of their intervals.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_recall,
)

from atelier.errors import EvaluationError
from atelier.metrics.classification import classification_scores, confusion_matrix, recall_by_class


def _predictions(num_images=600, num_classes=7, share_right=0.7, seed=0):
    rng = np.random.default_rng(seed)
    # Uneven classes, so that macro and micro averages differ.
    labels = rng.choice(
        num_classes,
        size=num_images,
        p=np.arange(1, num_classes + 1) / (num_classes + 1) / num_classes * 2,
    )
    wrong = rng.integers(num_classes, size=num_images)
    return labels, np.where(rng.random(num_images) < share_right, labels, wrong)


@pytest.mark.parametrize("num_classes", [2, 7, 40])
def test_scores_equal_torchmetrics(num_classes):
    labels, predictions = _predictions(num_classes=num_classes, num_images=2000)
    assert set(labels) == set(range(num_classes))
    target, preds = torch.from_numpy(labels), torch.from_numpy(predictions)
    scores = classification_scores(labels, predictions, num_classes, 0.95, seed=0)
    expected = {
        "accuracy": multiclass_accuracy(preds, target, num_classes, average="micro"),
        "macro_recall": multiclass_recall(preds, target, num_classes, average="macro"),
        "macro_f1": multiclass_f1_score(preds, target, num_classes, average="macro"),
    }
    assert {name: score.value for name, score in scores.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-6
    )
    matrix = multiclass_confusion_matrix(preds, target, num_classes).numpy()
    assert (confusion_matrix(labels, predictions, num_classes) == matrix).all()
    per_class = multiclass_recall(preds, target, num_classes, average=None)
    recalls = recall_by_class(labels, predictions, num_classes, 0.95)
    assert [recalls[k].value for k in range(num_classes)] == pytest.approx(
        per_class.tolist(), rel=1e-6
    )


def test_confusion_matrix_has_true_classes_in_rows():
    assert confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), 3).tolist() == [
        [0, 2, 0],
        [0, 0, 0],
        [0, 0, 1],
    ]


def test_classes_without_images_are_left_out():
    labels, predictions = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    scores = classification_scores(labels, predictions, 4, 0.95, seed=0)
    assert scores["macro_recall"].value == pytest.approx((0.5 + 1) / 2)
    # Class 2 has no image but was predicted, so its F1 is 0 and counts; class 3 was neither.
    assert scores["macro_f1"].value == pytest.approx((2 / 3 + 1 + 0) / 3)
    recalls = recall_by_class(labels, predictions, 4, 0.95)
    assert list(recalls) == [0, 1]
    assert [recalls[k].num_samples for k in (0, 1)] == [2, 2]


def test_scores_do_not_depend_on_the_order_and_follow_the_seed():
    labels, predictions = _predictions()
    order = np.random.default_rng(1).permutation(len(labels))
    scores = classification_scores(labels, predictions, 7, 0.95, seed=3)
    assert scores == classification_scores(labels[order], predictions[order], 7, 0.95, seed=3)
    other = classification_scores(labels, predictions, 7, 0.95, seed=4)
    assert other["macro_f1"].value == scores["macro_f1"].value
    assert other["macro_f1"].low != scores["macro_f1"].low


def test_more_wrong_predictions_score_worse():
    scores = [
        classification_scores(*_predictions(share_right=s), 7, 0.95, seed=0)
        for s in (0.95, 0.8, 0.5, 0.2)
    ]
    for better, worse in pairwise(scores):
        for name in ("accuracy", "macro_recall", "macro_f1"):
            assert better[name].value > worse[name].value


def test_intervals_cover_at_their_confidence():
    # Truth: recalls of 0.9, 0.6 and 0.75 in classes of 50, 30 and 20 %.
    rng = np.random.default_rng(0)
    shares, recalls = np.array([0.5, 0.3, 0.2]), np.array([0.9, 0.6, 0.75])
    truth = {"accuracy": shares @ recalls, "macro_recall": recalls.mean()}
    covered = {name: [] for name in truth}
    for seed in range(400):
        labels = rng.choice(3, size=250, p=shares)
        right = rng.random(250) < recalls[labels]
        predictions = np.where(right, labels, (labels + 1) % 3)
        scores = classification_scores(labels, predictions, 3, 0.9, seed)
        for name, value in truth.items():
            covered[name].append(scores[name].low <= value <= scores[name].high)
    for name, hits in covered.items():
        assert 0.85 < np.mean(hits) < 0.95, name


def test_all_right_is_one_and_accuracy_stays_uncertain():
    labels = np.arange(50) % 5
    scores = classification_scores(labels, labels, 5, 0.95, seed=0)
    assert [score.value for score in scores.values()] == [1.0, 1.0, 1.0]
    assert 0.9 < scores["accuracy"].low < 0.95


def test_many_classes_are_drawn_in_chunks():
    labels, predictions = _predictions(num_images=500, num_classes=150)
    score = classification_scores(labels, predictions, 150, 0.95, seed=0)["macro_recall"]
    assert score.low < score.value < score.high


@pytest.mark.parametrize(
    ("labels", "predictions", "text"),
    [
        ([0, 1], [0], "one class per image"),
        ([], [], "at least 1 image"),
        ([0, 3], [0, 1], r"labels: int64 values from 0 to 3 are not all integers from 0 to 2"),
        ([0, 1], [0, -1], r"predictions: int64 values from -1 to 0"),
        ([0.0, 1.0], [0, 1], r"labels: float64 values"),
    ],
)
def test_what_is_not_a_class_is_refused(labels, predictions, text):
    with pytest.raises(EvaluationError, match=text):
        classification_scores(np.array(labels), np.array(predictions), 3, 0.95, seed=0)


def test_small_unsigned_labels_do_not_overflow():
    labels = np.full(3, 20, dtype=np.uint8)
    assert confusion_matrix(labels, labels, 21)[20, 20] == 3
