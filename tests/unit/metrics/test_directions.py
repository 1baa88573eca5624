"""Every metric that is computed has a direction, and a direction tells better from worse."""

import numpy as np
import pytest

from atelier.errors import EvaluationError
from atelier.metrics.classification import classification_scores
from atelier.metrics.directions import HIGHER_IS_BETTER, higher_is_better
from atelier.metrics.generation import classifier_scores, distance_scores
from atelier.metrics.neighbours import memorisation
from atelier.metrics.pixels import fidelity_N, restoration_scores


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("psnr", True),
        ("psnr_gain", True),
        ("psnr_gain_bm3d", True),
        ("ssim", True),
        ("mse", False),
        ("cas", True),
        ("ms_ssim", True),
        ("lpips", False),
        ("accuracy", True),
        ("accuracy_clean", True),
        ("accuracy_degraded", True),
        ("accuracy_restored", True),
        ("accuracy_gain", True),
        ("macro_recall_restored", True),
        ("macro_f1_clean", True),
        ("fd_classifier", False),
        ("kid_efficientnet_lite0", False),
        ("is_classifier", True),
        ("precision_classifier", True),
        ("recall_classifier", True),
        ("density_classifier", True),
        ("coverage_inception", True),
        ("fid", False),
        ("kid_inception", False),
        ("memorisation", False),
        ("class_balance", True),
        ("rarest_class", True),
        ("class_accuracy", True),
    ],
)
def test_direction(metric, expected):
    assert higher_is_better(metric) is expected


@pytest.mark.parametrize("metric", ["", "psnrx", "kidney", "loss", "class", "gain_psnr", "_kid"])
def test_unknown_metrics_are_refused_with_the_known_ones(metric):
    with pytest.raises(EvaluationError, match="is not one of") as error:
        higher_is_better(metric)
    assert all(repr(name) in str(error.value) for name in HIGHER_IS_BETTER)


def test_directions_agree_with_the_scores_of_a_good_and_a_bad_model():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    x = rng.random((4, 1, 37, 31), dtype=np.float32)
    real, good = rng.normal(size=(2, 400, 5)).astype(np.float32)
    scores = []
    for quality in (0.9, 0.3):
        predictions = np.where(rng.random(400) < quality, labels, 0)
        probabilities = np.full((400, 4), 0.1 / 4, dtype=np.float32)
        probabilities[np.arange(400), predictions] += 0.9
        # A bad generator shows few of the real modes, and much that is not real.
        fake = good if quality == 0.9 else good * np.array([4, 4, 4, 0.1, 0.1], dtype=np.float32)
        scores.append(
            restoration_scores(fidelity_N(x * quality, x), 0.95)
            | classification_scores(labels, predictions, 4, 0.95, seed=0)
            | distance_scores(real, fake, 0.95, 0, "classifier")
            | classifier_scores(probabilities, labels, 0.95, seed=0)
            | {"memorisation": memorisation(rng.random(400) * quality, rng.random(400) * 0.9, 0.95)}
        )
    assert len(scores[0]) == 17
    for name, good_score in scores[0].items():
        assert (good_score.value > scores[1][name].value) is higher_is_better(name), name
