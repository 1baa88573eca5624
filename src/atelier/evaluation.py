"""Score one network on the test images: scores with intervals, a tidy table, and pictures.

Shapes: N test images, M generated images, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from atelier.data.splits import Split
from atelier.data.store import StoredDataset
from atelier.degradations import Steps, degrade_fixed, hidden_pixels
from atelier.metrics.baselines import baselines_for
from atelier.metrics.classification import classification_scores, confusion_matrix, recall_by_class
from atelier.metrics.generation import generation_scores
from atelier.metrics.intervals import Score, mean_interval
from atelier.metrics.pixels import psnr_N, restoration_scores
from atelier.params import ClassificationModel, Evaluation
from atelier.pictures import Floats, Pixels, grid, to_pixels
from atelier.training.batches import ArrayImages, to_images
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import train_classifier
from atelier.training.session import Session

CHUNK = 500  # images in one pass


@dataclass(frozen=True)
class Protocol:
    """How to score: the parameters, the seed of every draw, and the device."""

    params: Evaluation
    seed: int
    device: torch.device


@dataclass(frozen=True)
class Evaluated:
    """Scores of the model; a table with them, the baselines' and the slices'; pictures by file name."""

    scores: dict[str, Score]
    table: pd.DataFrame
    pictures: dict[str, Pixels]


# -- classification ------------------------------------------------------------------------------------------------


def evaluate_classifier(network: nn.Module, dataset: StoredDataset, protocol: Protocol) -> Evaluated:
    """Accuracy, macro recall and macro F1 on the test images; recall of each class as slices."""
    x_NCHW, labels_N = _test_images(dataset, protocol)
    assert labels_N is not None  # a classifier is only trained on labelled data
    predicted_N = _logits(network, x_NCHW, protocol.device).argmax(axis=1)
    scores = _class_scores(labels_N, predicted_N, dataset, protocol)
    by_class = recall_by_class(labels_N, predicted_N, dataset.info.num_classes, protocol.params.confidence)
    names = dataset.info.class_names
    rows = [_row("model", "all", name, score) for name, score in scores.items()]
    rows += [_row("model", f"class:{names[label]}", "recall", score) for label, score in by_class.items()]
    confusion_KK = confusion_matrix(labels_N, predicted_N, dataset.info.num_classes).astype(np.float32)
    shares = confusion_KK / confusion_KK.sum(axis=1, keepdims=True).clip(min=1)
    return Evaluated(scores, pd.DataFrame(rows), {"confusion.png": grid(1 - shares[None, None], 1, scale=16)})


def _class_scores(
    labels_N: np.ndarray, predicted_N: np.ndarray, dataset: StoredDataset, protocol: Protocol
) -> dict[str, Score]:
    num_classes, confidence = dataset.info.num_classes, protocol.params.confidence
    return classification_scores(labels_N, predicted_N, num_classes, confidence, protocol.seed)


# -- restoration ---------------------------------------------------------------------------------------------------


def evaluate_restorer(
    network: Any, steps: Steps, dataset: StoredDataset, classifier: nn.Module | None, protocol: Protocol
) -> Evaluated:
    """MSE, PSNR and SSIM of the model and of the classical baselines, and what the classifier makes of the results.

    Args:
        network: the restorer.
        steps: the degradation; fixed for each test image by its content hash.
        dataset: whose test split is used.
        classifier: of the same classes; None leaves its scores out.
        protocol: how to score.
    """
    x_NCHW, labels_N = _test_images(dataset, protocol)
    seeds = [int(sha256[:12], 16) for sha256 in dataset.hashes("test")[: len(x_NCHW)]]
    clean = torch.from_numpy(x_NCHW)
    y = degrade_fixed(clean, steps, seeds)
    hidden = hidden_pixels(clean.shape, steps, seeds)
    restored = _in_chunks(network, y, protocol.device).clip(0, 1)
    parts = list(zip(torch.split(y, CHUNK), torch.split(hidden, CHUNK), strict=True))
    guesses = {
        name: np.concatenate([baseline(*part).numpy() for part in parts])
        for name, baseline in baselines_for(steps).items()
    }
    confidence = protocol.params.confidence
    scores = restoration_scores(restored, x_NCHW, confidence)
    rows = [_row("model", "all", name, score) for name, score in scores.items()]
    for name, guess in guesses.items():
        named = restoration_scores(guess, x_NCHW, confidence)
        rows += [_row(f"baseline:{name}", "all", metric, score) for metric, score in named.items()]
    rows += _iteration_rows(network, y, x_NCHW, protocol)

    psnr = {name: psnr_N(guess, x_NCHW) for name, guess in guesses.items()}
    best = max(psnr, key=lambda name: float(psnr[name].mean()))
    gain = mean_interval(psnr_N(restored, x_NCHW) - psnr[best], confidence, f"paired difference to {best}, dB")
    scores["psnr_gain"] = gain
    if classifier is not None and labels_N is not None:
        views = {"clean": x_NCHW, "degraded": guesses["identity"], "restored": restored}
        scores |= _seen_by_classifier(classifier, views, labels_N, dataset, protocol)
    rows += [_row("model", "all", name, score) for name, score in scores.items() if name not in ("mse", "psnr", "ssim")]
    strips = [part[:10] for part in (x_NCHW, guesses["identity"], guesses[best], restored)]
    return Evaluated(scores, pd.DataFrame(rows), {"restored.png": grid(np.concatenate(strips), columns=10)})


def _iteration_rows(network: Any, y: Tensor, x_NCHW: Floats, protocol: Protocol) -> Iterator[dict[str, Any]]:
    """PSNR after each iteration of a recurrent restorer."""
    if not hasattr(network, "iterations"):
        return
    for count in range(1, network.iterations + 1):
        x_hat_NCHW = _in_chunks(network, y, protocol.device, iterations=count)
        score = mean_interval(psnr_N(x_hat_NCHW, x_NCHW), protocol.params.confidence, "dB")
        yield _row("model", f"iterations:{count}", "psnr", score)


def _seen_by_classifier(
    classifier: nn.Module, views: Mapping[str, Floats], labels_N: np.ndarray, dataset: StoredDataset, protocol: Protocol
) -> dict[str, Score]:
    """Accuracy, recall and F1 on clean, degraded and restored images, and what restoring gains in accuracy."""
    scores: dict[str, Score] = {}
    hits: dict[str, np.ndarray] = {}
    for view, x_NCHW in views.items():
        predicted_N = _logits(classifier, x_NCHW, protocol.device).argmax(axis=1)
        hits[view] = (predicted_N == labels_N).astype(np.float64)
        named = _class_scores(labels_N, predicted_N, dataset, protocol)
        scores |= {f"{metric}_{view}": score for metric, score in named.items()}
    gain_N = hits["restored"] - hits["degraded"]
    scores["accuracy_gain"] = mean_interval(gain_N, protocol.params.confidence, "paired, restored minus degraded")
    return scores


# -- generation ----------------------------------------------------------------------------------------------------


def evaluate_generator(
    generate: Any, recipe: ClassificationModel, classifier: nn.Module, dataset: StoredDataset, protocol: Protocol
) -> Evaluated:
    """Distances on the classifier's features, class balance, and CAS; real training images give the floor.

    Args:
        generate: (num_images, seed) -> (x_MCHW float32 in [0, 1], labels_M int64), all classes in turn.
        recipe: the classification model whose recipe trains the classifier of CAS.
        classifier: the feature extractor.
        dataset: whose test images are the reference.
        protocol: how to score.
    """
    real_NCHW, labels_N = _test_images(dataset, protocol)
    assert labels_N is not None  # the extractor was trained on the same, labelled, data
    fake_MCHW, fake_labels_M = generate(protocol.params.num_images, protocol.seed)
    train_NCHW = _images(dataset, "train", len(real_NCHW))
    real, fake, train = (_features(classifier, x, protocol.device) for x in (real_NCHW, fake_MCHW, train_NCHW))
    confidence, seed = protocol.params.confidence, protocol.seed
    scores = generation_scores(real[0], fake[0], fake[1], fake_labels_M, confidence, seed)
    floor = generation_scores(real[0], train[0], train[1], None, confidence, seed)
    scores |= {"cas": classification_accuracy_score(fake_MCHW, fake_labels_M, recipe, dataset, protocol)}
    rows = [_row("model", "all", name, score) for name, score in scores.items()]
    rows += [_row("floor:real training images", "all", name, score) for name, score in floor.items()]
    by_class = np.argsort(fake_labels_M, kind="stable").reshape(-1)
    num_classes = dataset.info.num_classes
    first = [by_class[fake_labels_M[by_class] == label][:10] for label in range(num_classes)]
    picture = grid(fake_MCHW[np.concatenate(first)], columns=10)
    return Evaluated(scores, pd.DataFrame(rows), {"generated.png": picture})


def classification_accuracy_score(
    fake_MCHW: Floats, labels_M: np.ndarray, recipe: ClassificationModel, dataset: StoredDataset, protocol: Protocol
) -> Score:
    """Accuracy on real test images of a classifier that was trained on generated images only (CAS).

    Source: Ravuri & Vinyals 2019, arXiv:1905.10887.
    """
    kimg = protocol.params.cas_kimg
    training = recipe.training.model_copy(
        update={"kimg": kimg, "sample_every_kimg": 2 * kimg, "checkpoint_every_kimg": 2 * kimg}
    )
    generated = ArrayImages(dataset.info, to_pixels(fake_MCHW), labels_M)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(
            device=protocol.device,
            seed=protocol.seed,
            checkpoints=Checkpoints(Path(folder), "cas"),
            on_log=lambda images_seen, values: None,
            on_sample=lambda images_seen, x_BCHW: None,
        )
        network = train_classifier(recipe.model_copy(update={"training": training}), generated, session).network
    x_NCHW, labels_N = _test_images(dataset, protocol)
    assert labels_N is not None
    predicted_N = _logits(network, x_NCHW, protocol.device).argmax(axis=1)
    return _class_scores(labels_N, predicted_N, dataset, protocol)["accuracy"]


# -- shared --------------------------------------------------------------------------------------------------------


def _test_images(dataset: StoredDataset, protocol: Protocol) -> tuple[Floats, np.ndarray | None]:
    """The first `num_images` test images (their order is that of their hashes) and their labels."""
    x_NCHW = _images(dataset, "test", protocol.params.num_images)
    labels_N = dataset.labels("test")
    return x_NCHW, None if labels_N is None else labels_N[: len(x_NCHW)]


def _images(dataset: StoredDataset, split: Split, count: int) -> Floats:
    return to_images(dataset.images(split)[:count], torch.device("cpu")).contiguous().numpy()


@torch.inference_mode()
def _in_chunks(network: Any, x_NCHW: Tensor, device: torch.device, **arguments: Any) -> np.ndarray:
    parts = [network(part.to(device), **arguments).cpu().numpy() for part in torch.split(x_NCHW, CHUNK)]
    return np.concatenate(parts)


def _logits(classifier: nn.Module, x_NCHW: Floats, device: torch.device) -> np.ndarray:
    return _in_chunks(classifier, torch.from_numpy(x_NCHW), device)


def _features(classifier: Any, x_NCHW: Floats, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """features_ND and probabilities_NK from one pass."""
    features_ND = _in_chunks(classifier.features, torch.from_numpy(x_NCHW), device)
    with torch.inference_mode():
        logits_NK = classifier.head(torch.from_numpy(features_ND).to(device))
    return features_ND, logits_NK.softmax(dim=1).cpu().numpy()


def _row(subject: str, slice_name: str, metric: str, score: Score) -> dict[str, Any]:
    return {
        "subject": subject,
        "slice": slice_name,
        "metric": metric,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "num_samples": score.num_samples,
        "protocol": score.protocol,
    }
