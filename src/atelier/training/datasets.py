"""What a training asks of a dataset, and what it looks at there.

Shapes: N images, H height, W width, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atelier.data.manifest import NO_LABEL
from atelier.data.splits import SPLITS, Split
from atelier.data.store import DatasetInfo
from atelier.errors import TrainingError
from atelier.training.pixels import Pixels, crops, sizes_of


class TrainingImages(Protocol):
    """What a training reads: a stored dataset, or generated images that stand in for one."""

    @property
    def info(self) -> DatasetInfo:
        """Size, channels and classes."""

    def images(self, split: Split) -> Pixels:
        """The images of a split."""

    def labels(self, split: Split) -> NDArray[np.int64] | None:
        """int64 N, or None where there are no labels."""


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory, all of them in every split; `info` is that of the dataset they imitate."""

    info: DatasetInfo
    images_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int64]

    def images(self, split: Split) -> NDArray[np.uint8]:
        """uint8 NHWC."""
        return self.images_NHWC

    def labels(self, split: Split) -> NDArray[np.int64]:
        """int64 N."""
        return self.labels_N


def first_images(
    dataset: TrainingImages, split: Split, count: int, crop_size: int | None
) -> NDArray[np.uint8]:
    """The first `count` images of a split, or their central squares of `crop_size` pixels; NHWC."""
    pixels = dataset.images(split)
    if crop_size is None:
        return pixels[:count]
    rows_N = np.arange(min(count, len(pixels)))
    return crops(pixels, rows_N, (sizes_of(pixels)[rows_N] - crop_size) // 2, crop_size)


def validation_split(dataset: TrainingImages) -> Split:
    """The split that a training is watched on: the training images where there are no others."""
    return "validation" if len(dataset.images("validation")) else "train"


def require_labels(dataset: TrainingImages) -> None:
    """Refuse a dataset with classes in which some pictures belong to none.

    Raises:
        TrainingError: with their number.
    """
    for split in SPLITS:
        labels_N = dataset.labels(split)
        if labels_N is not None and (count := int((labels_N == NO_LABEL).sum())):
            raise TrainingError(
                f"{count} of the {len(labels_N)} pictures of the {split} split lie outside of "
                "every class folder, so "
                "their class isn't known. Move them into the folders of their classes, or "
                "elsewhere."
            )
