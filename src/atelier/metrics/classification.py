"""Accuracy, recall and F1 from labels and predictions.

Shapes: N images, K classes, R bootstrap replicates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atelier.errors import EvaluationError
from atelier.metrics.intervals import UNIT, Score, bootstrap_interval, proportion_interval

NUM_REPLICATES = 2000
PROTOCOLS = {
    "accuracy": "share of images whose predicted class is right",
    "macro_recall": "mean over classes with images of the share of the class that is recognised",
    "macro_f1": "mean over classes with images or predictions of 2 TP / (2 TP + FP + FN)",
    "recall": "share of the images of one class that is recognised",
}
# 2**22 float64 confusion cells are 32 MB: replicates are drawn in chunks of this size.
_CELLS_PER_CHUNK = 2**22

Labels = NDArray[np.integer]


def confusion_matrix(labels: Labels, predictions: Labels, num_classes: int) -> NDArray[np.int64]:
    """Counts of images by true and by predicted class.

    Args:
        labels: labels_N, true classes, integers in [0, num_classes).
        predictions: predictions_N, predicted classes, integers in [0, num_classes).
        num_classes: K.

    Returns:
        confusion_KK: row = true class, column = predicted class; sums to N.

    Raises:
        EvaluationError: if the lengths differ, there is no image, or a class is out of range.
    """
    if labels.shape != predictions.shape or labels.ndim != 1 or labels.size == 0:
        raise EvaluationError(
            f"labels of shape {labels.shape} against predictions of shape {predictions.shape}: "
            "both must hold one "
            "class per image, for at least 1 image. Predict every labelled image once."
        )
    for name, classes in (("labels", labels), ("predictions", predictions)):
        check_classes(name, classes, num_classes)
    cells = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def check_classes(name: str, classes: Labels, num_classes: int) -> None:
    """Refuse what is not a class index.

    Args:
        name: what the classes are, for the error's text.
        classes: class indices of any shape, not empty.
        num_classes: K.

    Raises:
        EvaluationError: if a class is not an integer in [0, num_classes).
    """
    if (
        not np.issubdtype(classes.dtype, np.integer)
        or classes.min() < 0
        or classes.max() >= num_classes
    ):
        raise EvaluationError(
            f"{name}: {classes.dtype} values from {classes.min()} to {classes.max()} are not all "
            "integers from 0 to "
            f"{num_classes - 1}. Check that the classifier and the dataset have the same classes."
        )


def classification_scores(
    labels: Labels, predictions: Labels, num_classes: int, confidence: float, seed: int
) -> dict[str, Score]:
    """Accuracy, macro recall and macro F1 with intervals over the images.

    The macro intervals come from a bootstrap over images, which is a multinomial draw of the
    confusion matrix. They have no width when every image is right; accuracy's Wilson interval keeps
    it.

    Args:
        labels: labels_N, true classes, integers in [0, num_classes).
        predictions: predictions_N, predicted classes, integers in [0, num_classes).
        num_classes: K.
        confidence: coverage of the intervals, in (0, 1).
        seed: seed of the bootstrap.

    Returns:
        `accuracy`, `macro_recall` and `macro_f1`, all in [0, 1].

    Raises:
        EvaluationError: as `confusion_matrix`.

    Source: macro F1 as the mean of the classes' F1: Opitz and Burst 2019, arXiv:1911.03347.
    """
    confusion = confusion_matrix(labels, predictions, num_classes)
    num_images = int(confusion.sum())
    replicates = _macro_replicates(confusion, np.random.default_rng(seed))
    scores = {
        "accuracy": proportion_interval(
            int(np.trace(confusion)), num_images, confidence, PROTOCOLS["accuracy"]
        )
    }
    for name, value, replicates_R in zip(
        ("macro_recall", "macro_f1"), _macro(confusion), replicates, strict=True
    ):
        scores[name] = bootstrap_interval(
            float(value), replicates_R, num_images, confidence, PROTOCOLS[name], UNIT
        )
    return scores


def recall_by_class(
    labels: Labels, predictions: Labels, num_classes: int, confidence: float
) -> dict[int, Score]:
    """Recall of every class that has images: the slices of accuracy.

    Args:
        labels: labels_N, true classes, integers in [0, num_classes).
        predictions: predictions_N, predicted classes, integers in [0, num_classes).
        num_classes: K.
        confidence: coverage of each interval on its own, in (0, 1).

    Returns:
        Class index -> recall in [0, 1], with Wilson's interval over the images of that class;
        without the classes that have no image.

    Raises:
        EvaluationError: as `confusion_matrix`.
    """
    confusion = confusion_matrix(labels, predictions, num_classes)
    return {
        index: proportion_interval(int(row[index]), int(row.sum()), confidence, PROTOCOLS["recall"])
        for index, row in enumerate(confusion)
        if row.sum() > 0
    }


def _macro(confusion: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Macro recall and macro F1 of confusion matrices ...KK, each of shape `...`."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    num_true = confusion.sum(axis=-1)
    num_either = num_true + confusion.sum(axis=-2)
    # A class that no image has (and, for F1, none is taken for) has no recall: it is left out, not
    # counted as 0.
    recall = (hits / np.maximum(num_true, 1)).sum(axis=-1) / (num_true > 0).sum(axis=-1)
    f1 = (2 * hits / np.maximum(num_either, 1)).sum(axis=-1) / (num_either > 0).sum(axis=-1)
    return recall, f1


def _macro_replicates(
    confusion: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Only cells that hold images can be drawn; a good classifier leaves most of the matrix empty.
    cells = np.flatnonzero(confusion)
    num_images = int(confusion.sum())
    shares = confusion.ravel()[cells] / num_images
    chunk = max(1, _CELLS_PER_CHUNK // confusion.size)
    recalls, f1s = [], []
    for start in range(0, NUM_REPLICATES, chunk):
        drawn = np.zeros((min(chunk, NUM_REPLICATES - start), confusion.size), dtype=np.int64)
        drawn[:, cells] = rng.multinomial(num_images, shares, size=len(drawn))
        recall, f1 = _macro(drawn.reshape(-1, *confusion.shape))
        recalls.append(recall)
        f1s.append(f1)
    return np.concatenate(recalls), np.concatenate(f1s)
