"""Score a generator.

Shapes: N test images, M generated images, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from atelier.data.store import StoredDataset
from atelier.evaluation.common import (
    Evaluated,
    Protocol,
    class_scores,
    images_of,
    in_chunks,
    predicted_classes,
    row,
    test_images,
)
from atelier.metrics.generation import generation_scores
from atelier.metrics.intervals import Score
from atelier.params import ClassificationModel, TrainingData
from atelier.pictures import Floats, grid, to_pixels
from atelier.training.batches import ArrayImages
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import train_classifier
from atelier.training.session import Session


def evaluate_generator(
    generate: Any, recipe: ClassificationModel, classifier: nn.Module, dataset: StoredDataset, protocol: Protocol
) -> Evaluated:
    """Distances on the classifier's features, class balance, and CAS; real training images give the floor.

    Args:
        generate: (num_images, seed) -> (x_MCHW float32 in [0, 1], labels_M int64, all classes in turn; None if the
            generator can't be asked for a class: what needs labels is not measured then).
        recipe: the classification model whose recipe trains the classifier of CAS.
        classifier: the feature extractor.
        dataset: whose test images are the reference.
        protocol: how to score.
    """
    real_NCHW, labels_N = test_images(dataset, protocol)
    assert labels_N is not None  # the extractor was trained on the same, labelled, data
    fake_MCHW, fake_labels_M = generate(protocol.params.num_images, protocol.seed)
    train_NCHW = images_of(dataset, "train", len(real_NCHW))
    real, fake, train = (_features(classifier, x, protocol.device) for x in (real_NCHW, fake_MCHW, train_NCHW))
    confidence, seed = protocol.params.confidence, protocol.seed
    scores = generation_scores(real[0], fake[0], fake[1], fake_labels_M, confidence, seed)
    floor = generation_scores(real[0], train[0], train[1], None, confidence, seed)
    if fake_labels_M is not None:
        scores["cas"] = classification_accuracy_score(fake_MCHW, fake_labels_M, recipe, dataset, protocol)
    rows = [row("model", "all", name, score) for name, score in scores.items()]
    rows += [row("floor:real training images", "all", name, score) for name, score in floor.items()]
    rows_M = np.arange(len(fake_MCHW)) // 10 if fake_labels_M is None else fake_labels_M
    shown = [np.flatnonzero(rows_M == label)[:10] for label in range(dataset.info.num_classes)]
    picture = grid(fake_MCHW[np.concatenate(shown)], columns=10)
    return Evaluated(scores, pd.DataFrame(rows), {"generated.png": picture})


def classification_accuracy_score(
    fake_MCHW: Floats, labels_M: NDArray[Any], recipe: ClassificationModel, dataset: StoredDataset, protocol: Protocol
) -> Score:
    """Accuracy on real test images of a classifier that was trained on generated images only (CAS).

    Source: Ravuri & Vinyals 2019, arXiv:1905.10887.
    """
    kimg = protocol.params.cas_kimg
    training = recipe.training.model_copy(
        update={"kimg": kimg, "minutes": None, "sample_every_kimg": 2 * kimg, "checkpoint_every_kimg": 2 * kimg}
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
        changed = recipe.model_copy(update={"training": training, "data": TrainingData()})  # all generated images
        network = train_classifier(changed, generated, session).network
    x_NCHW, labels_N = test_images(dataset, protocol)
    assert labels_N is not None
    predicted_N = predicted_classes(network, x_NCHW, protocol.device)
    return class_scores(labels_N, predicted_N, dataset, protocol)["accuracy"]


def _features(classifier: Any, x_NCHW: Floats, device: torch.device) -> tuple[NDArray[Any], NDArray[Any]]:
    """features_ND and probabilities_NK from one pass."""
    features_ND = in_chunks(classifier.features, torch.from_numpy(x_NCHW), device)
    with torch.inference_mode():
        logits_NK = classifier.head(torch.from_numpy(features_ND).to(device))
    return features_ND, logits_NK.softmax(dim=1).cpu().numpy()
