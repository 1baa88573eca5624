"""Score a generator.

Shapes: N test images, M generated images, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from atelier.data.store import StoredDataset
from atelier.evaluation.common import (
    Evaluated,
    Protocol,
    class_scores,
    require_test_images,
    row,
    tested_classes,
)
from atelier.evaluation.extractors import Extractor
from atelier.evaluation.feature_cache import real_features
from atelier.metrics.directions import score_name
from atelier.metrics.distances import Features, kid_blocks, kid_difference
from atelier.metrics.generation import classifier_scores, distance_scores
from atelier.metrics.intervals import Score
from atelier.metrics.neighbours import memorisation, nearest_training
from atelier.params import ClassificationModel, TrainingData
from atelier.pictures import Floats, Pixels, grid, to_pixels
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import train_classifier
from atelier.training.datasets import ArrayImages
from atelier.training.pixels import to_images
from atelier.training.session import Session

# Training images that are looked at for copies: their features are held in memory, 800 MB of
# Inception's.
MAX_TRAINING_IMAGES = 100_000
PICTURES = {  # of each subject: what it draws, and what comes closest to training images
    "model": ("generated.png", "memorisation.png"),
    "unrefined": ("unrefined.png", "memorisation-unrefined.png"),
}
NUM_PAIRS = 10  # generated images that are shown beside their nearest training images


def evaluate_generator(
    generate: Any,
    recipe: ClassificationModel | None,
    extractor: Extractor,
    dataset: StoredDataset,
    protocol: Protocol,
    unrefined: Any = None,
) -> Evaluated:
    """Distances on the extractor's features, memorisation, classes and CAS.

    Real training images give the floor.

    Of a GAN that draws through a restorer also what it draws without it, as a second subject, and
    whether the restorer helped: the KID's difference, below 0 if it did. The floor has no
    memorisation: it is what would be copied.

    Args:
        generate: (num_images, seed) -> (x_MCHW float32 in [0, 1], labels_M int64, all classes in
            turn; None if the generator can't be asked for a class: what needs labels is not
            measured then).
        recipe: the classification model whose recipe trains the classifier of CAS; None: CAS is not
            measured.
        extractor: what takes the features; one that doesn't know the classes leaves out what needs
            them.
        dataset: whose test images are the reference.
        protocol: how to score.
        unrefined: as `generate`, the same images without the restorer; None: there is none.
    """
    require_test_images(dataset)
    count, seed = protocol.params.num_images, protocol.seed
    real_ND = real_features(extractor, dataset, "test", count, protocol.features)
    train_TD = real_features(extractor, dataset, "train", MAX_TRAINING_IMAGES, protocol.features)
    held_out_N, _ = nearest_training(train_TD, real_ND)
    features, scores, pictures = {}, {}, {}
    for subject, draw in {
        "model": generate,
        **({"unrefined": unrefined} if unrefined else {}),
    }.items():
        fake_MCHW, labels_M = draw(count, seed)
        features[subject] = fake_MD = extractor.of(fake_MCHW)
        found = _feature_scores(real_ND, fake_MD, labels_M, extractor, protocol)
        closeness_M, nearest_M = nearest_training(train_TD, fake_MD)
        found["memorisation"] = memorisation(closeness_M, held_out_N, protocol.params.confidence)
        scores[subject] = with_extractor(found, extractor)
        if labels_M is not None and recipe is not None:
            scores[subject]["cas"] = classification_accuracy_score(
                fake_MCHW, labels_M, recipe, dataset, protocol
            )
        drawn, pairs = PICTURES[subject]
        pictures[drawn] = _ten_of_each(fake_MCHW, labels_M, dataset.info.num_classes)
        pictures[pairs] = _closest_pairs(fake_MCHW, closeness_M, nearest_M, dataset)
    if unrefined:
        name, both = score_name("kid", extractor.name), (features["model"], features["unrefined"])
        difference = kid_difference(
            real_ND, *both, "what it draws unrefined", protocol.params.confidence, seed
        )
        scores["model"] |= with_extractor({f"{name}_difference": difference}, extractor)
    floor = _feature_scores(real_ND, train_TD[: len(real_ND)], None, extractor, protocol)
    scores["floor:real training images"] = with_extractor(floor, extractor)
    rows = [
        row(subject, "all", name, score)
        for subject, found in scores.items()
        for name, score in found.items()
    ]
    units = block_units(real_ND, features["model"], seed, extractor)
    return Evaluated(scores["model"], pd.DataFrame(rows), pictures, units)


def _feature_scores(
    real_ND: Features,
    fake_MD: Features,
    labels_M: NDArray[Any] | None,
    extractor: Extractor,
    protocol: Protocol,
) -> dict[str, Score]:
    confidence, seed = protocol.params.confidence, protocol.seed
    scores = distance_scores(real_ND, fake_MD, confidence, seed, extractor.name)
    if (probabilities_MK := extractor.probabilities(fake_MD)) is not None:
        scores |= classifier_scores(probabilities_MK, labels_M, confidence, seed)
    return scores


def with_extractor(scores: Mapping[str, Score], extractor: Extractor) -> dict[str, Score]:
    """The same scores, with the extractor in their protocols.

    Scores of two of them can't be compared.
    """
    return {
        metric: replace(score, protocol=f"{score.protocol}; features of {extractor.identity}")
        for metric, score in scores.items()
    }


def block_units(
    real_ND: Features, fake_MD: Features, seed: int, extractor: Extractor
) -> pd.DataFrame:
    """KID of each block, by its number, in a column with the score's name."""
    estimates, _ = kid_blocks(real_ND, fake_MD, seed)
    name = score_name("kid", extractor.name)
    return pd.DataFrame({"unit": [str(block) for block in range(len(estimates))], name: estimates})


def _closest_pairs(
    x_MCHW: Floats, closeness_M: NDArray[Any], nearest_M: NDArray[Any], dataset: StoredDataset
) -> Pixels:
    """The generated images that are closest to a training image, and below each that image."""
    closest = closeness_M.argsort(kind="stable")[:NUM_PAIRS]
    training_nCHW = to_images(
        dataset.images("train")[nearest_M[closest]], torch.device("cpu")
    ).numpy()
    return grid(np.concatenate([x_MCHW[closest], training_nCHW]), columns=len(closest))


def _ten_of_each(x_MCHW: Floats, labels_M: NDArray[Any] | None, num_classes: int) -> Pixels:
    """A picture with ten images of a class a row, or as many where no class was asked for."""
    rows_M = np.arange(len(x_MCHW)) // 10 if labels_M is None else labels_M
    shown = [np.flatnonzero(rows_M == label)[:10] for label in range(num_classes or 10)]
    return grid(x_MCHW[np.concatenate(shown)], columns=10)


def classification_accuracy_score(
    fake_MCHW: Floats,
    labels_M: NDArray[Any],
    recipe: ClassificationModel,
    dataset: StoredDataset,
    protocol: Protocol,
) -> Score:
    """Accuracy on real test images of a classifier that was trained on generated images only (CAS).

    Source: Ravuri & Vinyals 2019, arXiv:1905.10887.
    """
    kimg, rhythm = protocol.params.cas_kimg, 2 * protocol.params.cas_kimg
    changes = {
        "kimg": kimg,
        "minutes": None,
        "sample_every_kimg": rhythm,
        "checkpoint_every_kimg": rhythm,
    }
    training = recipe.training.model_copy(update=changes)
    generated = ArrayImages(dataset.info, to_pixels(fake_MCHW), labels_M)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(
            device=protocol.device,
            seed=protocol.seed,
            checkpoints=Checkpoints(Path(folder), "cas"),
            on_log=lambda images_seen, values: None,
            on_sample=lambda images_seen, x_BCHW: None,
        )
        changed = recipe.model_copy(
            update={"training": training, "data": TrainingData()}
        )  # all generated images
        network = train_classifier(changed, generated, session).network
    labels_N, predicted_N = tested_classes(network, dataset, protocol)
    return class_scores(labels_N, predicted_N, dataset, protocol)["accuracy"]
