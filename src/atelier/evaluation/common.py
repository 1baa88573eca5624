"""What the evaluations of all kinds share.

The protocol, the result, and networks applied chunk by chunk.

Shapes: N test images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atelier.data.splits import Split
from atelier.data.store import StoredDataset
from atelier.errors import EvaluationError
from atelier.metrics.classification import classification_scores
from atelier.metrics.intervals import Score
from atelier.params import Evaluation
from atelier.pictures import Floats, Pixels
from atelier.training.pixels import to_images

CHUNK = 500  # images in one pass, no more
CHUNK_PIXELS = 2**19  # nor more pixels than this: 57 MB for the nine shifts of a median in colour


@dataclass(frozen=True)
class Protocol:
    """How to score: parameters, the seed of every draw, the device, the folder of real features."""

    params: Evaluation
    seed: int
    device: torch.device
    features: Path | None = None


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation finds.

    Attributes:
        scores: of the model.
        table: these, the baselines' and the slices'.
        pictures: by file name.
        units: one line for each unit of the test data, so that two versions can be compared pair by
            pair. `unit` says which: the content hash of a test image, or the number of a block of
            images. `class` and other columns of text are slices; columns of numbers are metrics of
            the model, by the names of `scores`.
    """

    scores: dict[str, Score]
    table: pd.DataFrame
    pictures: dict[str, Pixels]
    units: pd.DataFrame


def with_pictures(evaluated: Evaluated, more: Mapping[str, Pixels]) -> Evaluated:
    """The same with more pictures."""
    return replace(evaluated, pictures={**evaluated.pictures, **more})


def images_of(dataset: StoredDataset, split: Split, count: int) -> Floats:
    """The first `count` images of a split, in the order of their hashes, all of one size."""
    return to_images(dataset.images(split)[:count], torch.device("cpu")).contiguous().numpy()


def require_test_images(dataset: StoredDataset) -> None:
    """Refuse a dataset that nothing can be measured on.

    Raises:
        EvaluationError: if it has fewer than two test images.
    """
    if (count := dataset.info.counts["test"]) < 2:
        raise EvaluationError(
            f"datasets.{dataset.name}: the test split has {count} images, a score needs at least "
            "2. Add pictures, or "
            f"raise datasets.{dataset.name}.test_fraction."
        )


def test_images(dataset: StoredDataset, protocol: Protocol) -> Iterator[Floats]:
    """The first `num_images` test images, all of one size, a pass at a time."""
    require_test_images(dataset)
    images, size = dataset.images("test"), dataset.info.image_size
    assert size is not None  # params.checks: restorers alone know images of any size
    count, step = min(len(images), protocol.params.num_images), images_in_a_pass(size, size)
    for start in range(0, count, step):
        yield (
            to_images(images[start : min(start + step, count)], torch.device("cpu"))
            .contiguous()
            .numpy()
        )


def tested_classes(
    classifier: nn.Module, dataset: StoredDataset, protocol: Protocol
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """labels_N of the first `num_images` test images, and the classes that are predicted."""
    parts = [
        predicted_classes(classifier, x_NCHW, protocol.device)
        for x_NCHW in test_images(dataset, protocol)
    ]
    predicted_N, labels_N = np.concatenate(parts), dataset.labels("test")
    assert labels_N is not None  # a classifier is only trained on labelled data
    return labels_N[: len(predicted_N)], predicted_N


def class_scores(
    labels_N: NDArray[np.int64],
    predicted_N: NDArray[np.int64],
    dataset: StoredDataset,
    protocol: Protocol,
) -> dict[str, Score]:
    """Accuracy, macro recall and macro F1."""
    num_classes, confidence = dataset.info.num_classes, protocol.params.confidence
    return classification_scores(labels_N, predicted_N, num_classes, confidence, protocol.seed)


@torch.inference_mode()
def in_chunks(network: Any, x_NCHW: Tensor, device: torch.device) -> Floats:
    """What a network makes of images of one size, computed on its device."""
    size = images_in_a_pass(*x_NCHW.shape[-2:])
    parts = [network(part.to(device)).cpu().numpy() for part in torch.split(x_NCHW, size)]
    return np.concatenate(parts)


def images_in_a_pass(height: int, width: int) -> int:
    """How many images of this size are in memory at a time; one if it is larger than a pass."""
    return max(1, min(CHUNK, CHUNK_PIXELS // (height * width)))


def predicted_classes(
    classifier: nn.Module, x_NCHW: Floats, device: torch.device
) -> NDArray[np.int64]:
    """The class with the highest logit, of each image."""
    return np.asarray(in_chunks(classifier, torch.from_numpy(x_NCHW), device).argmax(axis=1))


def runs_of_one_size(sizes_N2: NDArray[np.int64]) -> Iterator[slice]:
    """Neighbours of equal height and width, as many as fit in one pass."""
    start = 0
    for end in range(1, len(sizes_N2) + 1):
        height, width = sizes_N2[start].tolist()
        full = end - start >= CHUNK or (end - start + 1) * height * width > CHUNK_PIXELS
        if full or end == len(sizes_N2) or sizes_N2[end].tolist() != [height, width]:
            yield slice(start, end)
            start = end


def rows_of(
    scores: Mapping[str, Mapping[str, Score]], slice_name: str = "all"
) -> list[dict[str, Any]]:
    """Lines of the table: each subject's scores on some of the images."""
    rows = []
    for subject, measured in scores.items():
        rows += [row(subject, slice_name, metric, score) for metric, score in measured.items()]
    return rows


def row(subject: str, slice_name: str, metric: str, score: Score) -> dict[str, Any]:
    """One line of the table."""
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
