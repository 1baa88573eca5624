"""Train a classifier with cross-entropy; it also trains the one that measures a GAN (CAS)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atelier.data.store import DatasetInfo
from atelier.errors import TrainingError
from atelier.networks.classifiers import build_classifier
from atelier.params import ClassificationModel
from atelier.training.augmentation import augmented
from atelier.training.batches import part_size, training_batches
from atelier.training.budget import Position
from atelier.training.course import Course
from atelier.training.datasets import TrainingImages, require_labels, validation_split
from atelier.training.distributed import share
from atelier.training.ema import averaged_copy, averaging
from atelier.training.outcome import Outcome
from atelier.training.pixels import to_images
from atelier.training.session import Session, Trained, adam, placed

NUM_VALIDATION = 2048  # images in each validation


def classifier_config(model: ClassificationModel, info: DatasetInfo) -> dict[str, Any]:
    """Keyword arguments of `build_classifier` for this model on this dataset."""
    return {
        **model.network.model_dump(),
        "channels": info.channels,
        "image_size": info.image_size,
        "num_classes": info.num_classes,
    }


def train_classifier(
    model: ClassificationModel, dataset: TrainingImages, session: Session
) -> Trained:
    """Train for `training.kimg` thousand images, or go on from the checkpoint.

    Raises:
        TrainingError: if the dataset has fewer than two classes.
    """
    training = model.training
    _require_classes(model, dataset)
    torch.manual_seed(session.seed)
    config = classifier_config(model, dataset.info)
    network = placed(build_classifier(**config), session.device)
    average = averaged_copy(network)
    optimizer = adam(network, training)
    rng = torch.Generator().manual_seed(session.seed)
    batches = training_batches(model, dataset, session)

    if training.compile:
        network.compile()
    update_average = averaging(average, network, training)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    course = Course(session, training, parts, rng)

    def objective(x_BCHW: Tensor, labels_B: Tensor) -> Outcome:
        return Outcome(F.cross_entropy(network(x_BCHW), labels_B))

    def one_step(at: Position) -> None:
        x_BCHW, labels_B = batches.at(at.before)
        batch = (share(augmented(x_BCHW, training.augment, rng)), share(labels_B))
        loss = course.minimise("the cross-entropy", optimizer, objective, *batch).loss
        update_average(at.after)
        if course.is_due(training.log_every_kimg):
            course.log({"loss": loss})
        if course.is_due(training.sample_every_kimg):
            hits_N = _hits(average, dataset, session.device, part_size(training))
            course.validate("validation/accuracy", hits_N)

    course.open()
    course.run(one_step)
    return Trained(average, config, course.images_seen)


def _require_classes(model: ClassificationModel, dataset: TrainingImages) -> None:
    if dataset.info.num_classes < 2:
        raise TrainingError(
            f"a classifier needs at least two classes, the dataset {model.dataset!r} has "
            f"{dataset.info.num_classes}. "
            "Put the pictures of each class into a subfolder of their own."
        )
    require_labels(dataset)


@torch.inference_mode()
def _hits(
    network: nn.Module, dataset: TrainingImages, device: torch.device, batch_size: int
) -> Tensor:
    """1 for each of the first validation images whose class is found, else 0.

    Training images where there are no validation images.
    """
    split = validation_split(dataset)
    labels_N = dataset.labels(split)
    assert labels_N is not None  # checked before the training began
    labels = torch.from_numpy(labels_N[:NUM_VALIDATION])
    images = dataset.images(split)
    logits = []
    for start in range(0, len(labels), batch_size):
        end = min(start + batch_size, len(labels))
        logits.append(network(to_images(images[start:end], device)).cpu())
    return (torch.cat(logits).argmax(dim=1) == labels).double()
