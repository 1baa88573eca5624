"""Scores of a set of generated images, from one pass of the extractor over it.

Shapes: N real images, M generated ("fake") images, D features, K classes.
"""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray

from atelier.errors import EvaluationError
from atelier.metrics.classification import Labels, check_classes
from atelier.metrics.directions import score_name
from atelier.metrics.distances import Features, fd, kid
from atelier.metrics.intervals import (
    UNIT,
    Score,
    bootstrap_counts,
    bootstrap_interval,
    proportion_interval,
)
from atelier.metrics.neighbours import neighbour_scores

log = logging.getLogger("atelier")

# 200 replicates give a standard error to 5 %.
IS_NUM_REPLICATES = 200
BALANCE_NUM_REPLICATES = 2000
PROTOCOLS = {
    "is": "exp of the mean KL divergence of an image's class probabilities from the mean ones, "
    "one split",
    "class_balance": "entropy of the predicted classes / log(number of classes)",
    "rarest_class": "share of the rarest predicted class * number of classes, the choice of the "
    "class held fixed",
    "class_accuracy": "share of generated images that the classifier assigns to the class they "
    "were requested as",
}


def inception_score(probabilities_MK: NDArray[np.float32], confidence: float, seed: int) -> Score:
    """How sure the classifier is of each image, and how evenly it uses its classes.

    Args:
        probabilities_MK: class probabilities of generated images; rows sum to 1.
        confidence: coverage of the interval, in (0, 1).
        seed: seed of the bootstrap over the images.

    Returns:
        exp(mean KL(p || mean p)), in [1, K]. It knows no real image, so a few perfect images per
        class score K.

    Raises:
        EvaluationError: if there is no image or a row is not a probability distribution.

    Source: Salimans et al. 2016, arXiv:1606.03498, section 4.
    """
    probabilities = _checked_probabilities(probabilities_MK)
    num_images, num_classes = probabilities.shape
    # mean KL(p || q) = mean_n sum_k p log p - sum_k q log q with q = mean p: both parts are linear
    # in the images' counts until the last step.
    sums = np.column_stack([_p_log_p(probabilities), probabilities])

    def score(counts_M: NDArray[np.int64]) -> float:
        means: NDArray[np.float64] = counts_M @ sums / num_images
        return float(np.exp(means[0] - _p_log_p(means[1:])))

    value = score(np.ones(num_images, dtype=np.int64))
    rng = np.random.default_rng(seed)
    replicates = [score(counts) for counts in bootstrap_counts(num_images, IS_NUM_REPLICATES, rng)]
    return bootstrap_interval(
        value, replicates, num_images, confidence, PROTOCOLS["is"], (1.0, float(num_classes))
    )


def class_balance(predicted_M: Labels, num_classes: int, confidence: float, seed: int) -> Score:
    """Normalised entropy of the predicted classes: 1 if all are equally frequent, 0 if one is all.

    Args:
        predicted_M: class that the classifier assigns to each generated image, in [0, num_classes).
        num_classes: K >= 2.
        confidence: coverage of the interval, in (0, 1).
        seed: seed of the bootstrap over the images.

    Returns:
        The entropy divided by log K, in [0, 1].

    Raises:
        EvaluationError: if there is no image or a class is out of range.

    Source: Shannon 1948, A mathematical theory of communication, section 6 (entropy over its
    maximum).
    """
    counts_K = _class_counts(predicted_M, num_classes)
    num_images = len(predicted_M)

    def balance(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return -_p_log_p(counts / num_images) / math.log(num_classes)

    rng = np.random.default_rng(seed)
    replicates = balance(
        rng.multinomial(num_images, counts_K / num_images, size=BALANCE_NUM_REPLICATES)
    )
    value = float(balance(counts_K))
    return bootstrap_interval(
        value, replicates, num_images, confidence, PROTOCOLS["class_balance"], UNIT
    )


def rarest_class(predicted_M: Labels, num_classes: int, confidence: float) -> Score:
    """Frequency of the rarest predicted class relative to an even share; 0: one is missing.

    Args:
        predicted_M: class that the classifier assigns to each generated image, in [0, num_classes).
        num_classes: K >= 2.
        confidence: coverage of the interval, in (0, 1).

    Returns:
        Share of the rarest class times K, in [0, 1].

    Raises:
        EvaluationError: if there is no image or a class is out of range.
    """
    counts_K = _class_counts(predicted_M, num_classes)
    share = proportion_interval(
        int(counts_K.min()), len(predicted_M), confidence, PROTOCOLS["rarest_class"]
    )
    # The observed minimum is at most an even share; its upper end may lie above one.
    high = min(1.0, share.high * num_classes)
    return Score(
        share.value * num_classes, share.low * num_classes, high, share.num_samples, share.protocol
    )


def class_accuracy(predicted_M: Labels, requested_M: Labels, confidence: float) -> Score:
    """Share of generated images that the classifier assigns to the class they were requested as.

    Args:
        predicted_M: class that the classifier assigns to each generated image.
        requested_M: class that the generator was asked for.
        confidence: coverage of the interval, in (0, 1).

    Returns:
        The share, in [0, 1].

    Raises:
        EvaluationError: if the lengths differ or there is no image.
    """
    if predicted_M.shape != requested_M.shape:
        raise EvaluationError(
            f"class_accuracy: {predicted_M.shape} predicted against {requested_M.shape} requested "
            "classes. Give the "
            "class that each generated image was requested as, in the order of the images."
        )
    num_hits = int(np.count_nonzero(predicted_M == requested_M))
    return proportion_interval(num_hits, len(predicted_M), confidence, PROTOCOLS["class_accuracy"])


def distance_scores(
    real_ND: Features, fake_MD: Features, confidence: float, seed: int, extractor: str
) -> dict[str, Score]:
    """How two sets of images differ, by what an extractor makes of them.

    Args:
        real_ND: features of real images, N >= 20.
        fake_MD: the same features of generated images, M >= 20.
        confidence: coverage of each interval, in (0, 1).
        seed: seed of all bootstraps and of the deal into blocks.
        extractor: what the features come from; the scores are named after it.

    Returns:
        FD (left out, with a warning, where there are no more images than features), KID, precision,
        recall, density and coverage: `fd_*` (of inception `fid`), `kid_*`, ... with * = extractor.

    Raises:
        EvaluationError: if the arrays don't fit together or hold too few images.
    """
    found = {
        "kid": kid(real_ND, fake_MD, confidence, seed),
        **neighbour_scores(real_ND, fake_MD, confidence),
    }
    fewest, num_features = min(len(real_ND), len(fake_MD)), real_ND.shape[1]
    if fewest > num_features:
        found = {"fd": fd(real_ND, fake_MD, confidence, seed), **found}
    else:
        name = score_name("fd", extractor)
        log.warning(
            "%s is left out: %d images are too few for %d features", name, fewest, num_features
        )
    return {score_name(metric, extractor): score for metric, score in found.items()}


def classifier_scores(
    probabilities_MK: NDArray[np.float32], requested_M: Labels | None, confidence: float, seed: int
) -> dict[str, Score]:
    """What a classifier of the same classes makes of generated images.

    Args:
        probabilities_MK: its probabilities of each image; rows sum to 1.
        requested_M: class that each image was requested as, in [0, K); None for an unconditional
            generator.
        confidence: coverage of each interval, in (0, 1).
        seed: seed of all bootstraps.

    Returns:
        `is_classifier`, `class_balance`, `rarest_class`, and, unless the labels are None,
        `class_accuracy`.

    Raises:
        EvaluationError: if the arrays don't fit together or hold no images.
    """
    num_classes = probabilities_MK.shape[1]
    predicted = probabilities_MK.argmax(axis=1)
    scores = {
        "is_classifier": inception_score(probabilities_MK, confidence, seed),
        "class_balance": class_balance(predicted, num_classes, confidence, seed),
        "rarest_class": rarest_class(predicted, num_classes, confidence),
    }
    if requested_M is not None:
        check_classes("requested labels", requested_M, num_classes)
        scores["class_accuracy"] = class_accuracy(predicted, requested_M, confidence)
    return scores


def _p_log_p(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of p log p over the last axis, with 0 log 0 = 0; minus the entropy in nats."""
    terms: NDArray[np.float64] = probabilities * np.log(
        np.where(probabilities > 0, probabilities, 1.0)
    )
    return np.asarray(terms.sum(axis=-1))


def _checked_probabilities(probabilities_MK: NDArray[np.float32]) -> NDArray[np.float64]:
    probabilities = probabilities_MK.astype(np.float64)
    # A softmax in float32 over 1000 classes misses 1 by less than 1e-4; logits miss it by far more.
    # NaN fails as well.
    is_distribution = (
        probabilities.ndim == 2 and probabilities.size > 0 and probabilities.min() >= 0
    )
    if not is_distribution or not (np.abs(probabilities.sum(axis=1) - 1) < 1e-3).all():
        raise EvaluationError(
            f"inception_score: values of shape {probabilities.shape} are not one distribution per "
            "image. Give "
            "the classifier's softmax, not its logits, of at least 1 image."
        )
    return probabilities


def _class_counts(predicted_M: Labels, num_classes: int) -> NDArray[np.int64]:
    if predicted_M.ndim != 1 or predicted_M.size == 0 or num_classes < 2:
        raise EvaluationError(
            f"predicted classes of shape {predicted_M.shape} out of {num_classes}: the balance "
            "needs one class "
            "per image, at least 1 image and 2 classes."
        )
    check_classes("predicted classes", predicted_M, num_classes)
    return np.bincount(predicted_M, minlength=num_classes)
