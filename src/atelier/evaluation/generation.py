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
from atelier.metrics.distances import kid_blocks, kid_difference
from atelier.metrics.generation import generation_scores
from atelier.metrics.intervals import Score
from atelier.params import ClassificationModel, TrainingData
from atelier.pictures import Floats, Pixels, grid, to_pixels
from atelier.training.batches import ArrayImages
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import train_classifier
from atelier.training.session import Session


def evaluate_generator(
    generate: Any,
    recipe: ClassificationModel,
    classifier: nn.Module,
    dataset: StoredDataset,
    protocol: Protocol,
    unrefined: Any = None,
) -> Evaluated:
    """Distances on the classifier's features, class balance, and CAS; real training images give the floor.

    Of a GAN that draws through a restorer also what it draws without it, as a second subject, and whether the restorer
    helped: kid_classifier_difference, below 0 if it did.

    Args:
        generate: (num_images, seed) -> (x_MCHW float32 in [0, 1], labels_M int64, all classes in turn; None if the
            generator can't be asked for a class: what needs labels is not measured then).
        recipe: the classification model whose recipe trains the classifier of CAS.
        classifier: the feature extractor.
        dataset: whose test images are the reference.
        protocol: how to score.
        unrefined: as `generate`, the same images without the restorer; None: there is none.
    """
    real_NCHW, labels_N = test_images(dataset, protocol)
    assert labels_N is not None  # the extractor was trained on the same, labelled, data
    count, confidence, seed = protocol.params.num_images, protocol.params.confidence, protocol.seed
    train_NCHW = images_of(dataset, "train", len(real_NCHW))
    real, train = (_features(classifier, x, protocol.device) for x in (real_NCHW, train_NCHW))
    features, scores, pictures = {}, {}, {}
    for subject, draw in {"model": generate, **({"unrefined": unrefined} if unrefined else {})}.items():
        fake_MCHW, labels_M = draw(count, seed)
        fake = _features(classifier, fake_MCHW, protocol.device)
        features[subject] = fake[0]
        scores[subject] = generation_scores(real[0], fake[0], fake[1], labels_M, confidence, seed)
        if labels_M is not None:
            scores[subject]["cas"] = classification_accuracy_score(fake_MCHW, labels_M, recipe, dataset, protocol)
        name = "generated.png" if subject == "model" else f"{subject}.png"
        pictures[name] = _ten_of_each(fake_MCHW, labels_M, dataset.info.num_classes)
    if unrefined:
        scores["model"]["kid_classifier_difference"] = kid_difference(
            real[0], features["model"], features["unrefined"], "what it draws unrefined", confidence, seed
        )
    scores["floor:real training images"] = generation_scores(real[0], train[0], train[1], None, confidence, seed)
    rows = [row(subject, "all", name, score) for subject, found in scores.items() for name, score in found.items()]
    units = block_units(real[0], features["model"], seed)
    return Evaluated(scores["model"], pd.DataFrame(rows), pictures, units)


def block_units(real_ND: NDArray[Any], fake_MD: NDArray[Any], seed: int) -> pd.DataFrame:
    """KID of each block, by its number."""
    estimates, _ = kid_blocks(real_ND, fake_MD, seed)
    return pd.DataFrame({"unit": [str(block) for block in range(len(estimates))], "kid_classifier": estimates})


def _ten_of_each(x_MCHW: Floats, labels_M: NDArray[Any] | None, num_classes: int) -> Pixels:
    """A picture with ten images of a class a row, or as many images where no class was asked for."""
    rows_M = np.arange(len(x_MCHW)) // 10 if labels_M is None else labels_M
    shown = [np.flatnonzero(rows_M == label)[:10] for label in range(num_classes)]
    return grid(x_MCHW[np.concatenate(shown)], columns=10)


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
