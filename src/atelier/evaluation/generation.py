"""Score a generator.

Shapes: N test images, M generated images, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    rows_of,
    tested_classes,
)
from atelier.evaluation.extractors import Extractor
from atelier.evaluation.feature_cache import real_features
from atelier.evaluation.sampling import Drawn, Labels
from atelier.metrics.directions import score_name
from atelier.metrics.distances import Features, kid_blocks, kid_difference
from atelier.metrics.generation import classifier_scores, distance_scores
from atelier.metrics.intervals import Score
from atelier.metrics.neighbours import Distances, memorisation, nearest_training
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
    "sampled": ("sampled.png", "memorisation-sampled.png"),
    "unrefined": ("unrefined.png", "memorisation-unrefined.png"),
}
COMPARED_WITH = {  # by the KID's difference: which other subject, and what that is called
    "model": ("unrefined", "what it draws unrefined"),
    "sampled": ("model", "what it draws by itself"),
}
NUM_PAIRS = 10  # generated images that are shown beside their nearest training images


@dataclass(frozen=True)
class _Reference:
    """What generated images are compared with.

    Attributes:
        real_ND: features of test images.
        train_TD: features of training images.
        held_out_N: how close test images come to training images.
    """

    real_ND: Features
    train_TD: Features
    held_out_N: Distances


@dataclass(frozen=True)
class _Scored:
    """A subject: features of what was drawn, its scores, and pictures by file name."""

    fake_MD: Features
    scores: dict[str, Score]
    pictures: dict[str, Pixels]


def evaluate_generator(
    generate: Callable[[int, int], tuple[Floats, Labels | None]],
    recipe: ClassificationModel | None,
    extractor: Extractor,
    dataset: StoredDataset,
    protocol: Protocol,
    unrefined: Callable[[int, int], tuple[Floats, Labels | None]] | None = None,
    sampled: Callable[[int, int], Drawn] | None = None,
) -> Evaluated:
    """Distances on the extractor's features, memorisation, classes and CAS.

    Real training images give the floor, without memorisation: they are what would be copied.

    Of a GAN that draws through a restorer also what it draws without it, as a subject, and whether
    the restorer helped: the KID's difference, below 0 if it did. What `sampling` draws is a subject
    as well, with its difference to the model, which stays what the GAN draws by itself.

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
        sampled: as `generate`, by the model's `sampling`; None: that changes nothing.
    """
    require_test_images(dataset)
    reference = _take_reference(extractor, dataset, protocol)
    draws = {"model": generate, "sampled": sampled, "unrefined": unrefined}
    subjects = {}
    for subject, draw in draws.items():
        if draw is not None:
            drawn = Drawn(*draw(protocol.params.num_images, protocol.seed))
            subjects[subject] = _score_subject(
                subject, drawn, reference, recipe, extractor, dataset, protocol
            )
    scores = _with_differences(subjects, reference, extractor, protocol)
    train_ND = reference.train_TD[: len(reference.real_ND)]
    floor = _feature_scores(reference.real_ND, train_ND, None, extractor, protocol)
    scores["floor:real training images"] = with_extractor(floor, extractor)
    pictures: dict[str, Pixels] = {}
    for scored in subjects.values():
        pictures |= scored.pictures
    fake_MD = subjects["model"].fake_MD
    units = block_units(reference.real_ND, fake_MD, protocol.seed, extractor)
    return Evaluated(scores["model"], pd.DataFrame(rows_of(scores)), pictures, units)


def _take_reference(extractor: Extractor, dataset: StoredDataset, protocol: Protocol) -> _Reference:
    count = protocol.params.num_images
    real_ND = real_features(extractor, dataset, "test", count, protocol.features)
    train_TD = real_features(extractor, dataset, "train", MAX_TRAINING_IMAGES, protocol.features)
    held_out_N, _ = nearest_training(train_TD, real_ND)
    return _Reference(real_ND, train_TD, held_out_N)


def _score_subject(
    subject: str,
    drawn: Drawn,
    reference: _Reference,
    recipe: ClassificationModel | None,
    extractor: Extractor,
    dataset: StoredDataset,
    protocol: Protocol,
) -> _Scored:
    x_MCHW = drawn.x_MCHW
    labels_M = drawn.labels_M
    fake_MD = extractor.of(x_MCHW)
    measured = _feature_scores(reference.real_ND, fake_MD, labels_M, extractor, protocol)
    closeness_M, nearest_M = nearest_training(reference.train_TD, fake_MD)
    measured["memorisation"] = memorisation(
        closeness_M, reference.held_out_N, protocol.params.confidence
    )
    scores = with_extractor(measured, extractor)
    if labels_M is not None and recipe is not None:
        scores["cas"] = classification_accuracy_score(x_MCHW, labels_M, recipe, dataset, protocol)
    if drawn.note:
        scores = _with_note(scores, drawn.note)
    generated, pairs = PICTURES[subject]
    pictures = {
        generated: _ten_of_each(x_MCHW, labels_M, dataset.info.num_classes),
        pairs: _closest_pairs(x_MCHW, closeness_M, nearest_M, dataset),
    }
    return _Scored(fake_MD, scores, pictures)


def _with_differences(
    subjects: Mapping[str, _Scored], reference: _Reference, extractor: Extractor, protocol: Protocol
) -> dict[str, dict[str, Score]]:
    """Each subject's scores, with its KID minus that of the one that it is compared with."""
    name = score_name("kid", extractor.name)
    confidence = protocol.params.confidence
    scores = {subject: {**scored.scores} for subject, scored in subjects.items()}
    for new, (old, old_name) in COMPARED_WITH.items():
        if new in subjects and old in subjects:
            features = subjects[new].fake_MD, subjects[old].fake_MD
            difference = kid_difference(
                reference.real_ND, *features, old_name, confidence, protocol.seed
            )
            scores[new] |= with_extractor({f"{name}_difference": difference}, extractor)
    return scores


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
    return _with_note(scores, f"features of {extractor.identity}")


def _with_note(scores: Mapping[str, Score], note: str) -> dict[str, Score]:
    """The same scores, with a note at the end of their protocols."""
    return {
        metric: replace(score, protocol=f"{score.protocol}; {note}")
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
