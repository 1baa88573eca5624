"""Batches as a function of the images seen: a resumed run sees what it would have seen.

Shapes: N images of the split, B batch, H height, W width, C channels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from atelier.data.splits import Split
from atelier.errors import TrainingError
from atelier.params import Model, Training
from atelier.training.datasets import TrainingImages
from atelier.training.extension import ExtendedImages
from atelier.training.pixels import crops, sizes_of, to_images
from atelier.training.resident import ResidentPixels, fits
from atelier.training.session import Session


def training_batches(model: Model, dataset: TrainingImages, session: Session) -> Batches:
    """The batches that a model is trained on, as its parameters ask for them.

    Raises:
        TrainingError: if there are fewer images than a batch needs.
    """
    training = model.training
    limit = model.data.limit
    if session.generated_GHWC is not None:
        dataset = ExtendedImages(dataset, limit, session.generated_GHWC)
        limit = None
    return Batches(
        dataset,
        "train",
        training.batch_size,
        session.seed,
        session.device,
        training.crop_size,
        limit,
    )


class Batches:
    """An endless, shuffled stream over one split; its position is `images_seen`, nothing else.

    A generator seeded by (seed, e) draws the order of epoch e, then the places of its crops;
    batches cross epoch borders, so every image is seen equally often whatever the batch size.

    Args:
        dataset: what is read.
        split: of the dataset.
        batch_size: images in a batch.
        seed: of orders and crops.
        device: where the batches go.
        crop_size: side of a random crop of each image, no larger than any of them; None: whole
            images, all of one size.
        resident: whether the pixels are copied to the device once, and batches are cut out there;
            None: if they fit.
        limit: of the images only so many, the first in the order of their content hashes: a random
            choice, in which every smaller one is contained. None, or more than there are: all.
        part: of these images only so many, by their positions.
    """

    def __init__(
        self,
        dataset: TrainingImages,
        split: Split,
        batch_size: int,
        seed: int,
        device: torch.device,
        crop_size: int | None = None,
        limit: int | None = None,
        resident: bool | None = None,
        part: slice = slice(None),
    ) -> None:
        self._pixels = dataset.images(split)
        self._labels_N = dataset.labels(split)
        self._sizes_N2 = sizes_of(self._pixels)
        self._rows_N = np.arange(len(self._pixels))[:limit][part]
        self._num_images = len(self._rows_N)
        if self._num_images < batch_size:
            raise TrainingError(
                f"the {split} split of this dataset has {self._num_images} images, fewer than "
                "batch_size = "
                f"{batch_size}. Add pictures, or lower training.batch_size."
            )
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._crop_size = crop_size
        self._epoch = -1
        self._order_N = np.empty(0, np.int64)
        self._places_N2 = np.empty((0, 2))
        self._resident = None
        sizes_N2 = self._sizes_N2[: self._num_images]
        channels = dataset.info.channels
        if resident is None:
            resident = fits(int(sizes_N2.prod(axis=1).sum()) * channels, device)
        if resident:
            self._resident = ResidentPixels(self._pixels, sizes_N2, channels, device)

    def at(self, images_seen: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch that starts at position `images_seen` of the stream.

        Returns:
            x_BCHW: float32 in [0, 1], channels_last, on the device.
            labels_B: int64 class numbers; all 0 where the dataset has no labels.
        """
        parts = []
        position = images_seen
        end = images_seen + self._batch_size
        while position < end:
            epoch, offset = divmod(position, self._num_images)
            count = min(end - position, self._num_images - offset)
            parts.append(self._part(epoch, slice(offset, offset + count)))
            position += count
        rows_B, places_B2 = (np.concatenate(part) for part in zip(*parts, strict=True))
        labels_B = (
            np.zeros(len(rows_B), np.int64) if self._labels_N is None else self._labels_N[rows_B]
        )
        x_BCHW = to_images(self._cut(rows_B, places_B2), self._device)
        return x_BCHW, torch.from_numpy(labels_B).to(self._device, non_blocking=True)

    def _part(self, epoch: int, offsets: slice) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Images of an epoch, and the places of their crops: [0, 1)^2 is where a corner may lie."""
        if epoch != self._epoch:
            rng = np.random.Generator(np.random.PCG64([self._seed, epoch]))
            self._epoch = epoch
            self._order_N = self._rows_N[rng.permutation(self._num_images)]
            self._places_N2 = rng.random((self._num_images, 2))
        return self._order_N[offsets], self._places_N2[offsets]

    def _cut(
        self, rows_B: NDArray[np.int64], places_B2: NDArray[np.float64]
    ) -> NDArray[np.uint8] | torch.Tensor:
        """Random crops of these images, or the whole ones; BHWC."""
        if self._crop_size is None:
            height, width = self._sizes_N2[0].tolist()
            corners_B2 = np.zeros((len(rows_B), 2), np.int64)
            return (
                self._resident.cut(rows_B, corners_B2, height, width)
                if self._resident
                else self._pixels[rows_B]
            )
        size = self._crop_size
        corners_B2 = (places_B2 * (self._sizes_N2[rows_B] - size + 1)).astype(np.int64)
        if self._resident:
            return self._resident.cut(rows_B, corners_B2, size, size)
        return crops(self._pixels, rows_B, corners_B2, size)


def part_size(training: Training) -> int:
    """Images in one pass of a training's networks.

    As many as its memory is known to suffice for.
    """
    return training.batch_size // (training.accumulate * training.devices)
