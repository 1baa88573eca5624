"""Batches as a function of the number of images seen, so that a resumed run sees exactly what it would have seen.

Shapes: N images of the split, B batch, H height, W width, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from atelier.data.splits import SPLITS, Split
from atelier.data.store import NO_LABEL, DatasetInfo
from atelier.errors import TrainingError


class PixelRows(Protocol):
    """uint8 NHWC, an array or a memory map: only what is indexed is read."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> np.ndarray: ...


class Images(Protocol):
    """What a training reads: a stored dataset, or generated images that stand in for one."""

    @property
    def info(self) -> DatasetInfo:
        """Size, channels and classes."""

    def images(self, split: Split) -> PixelRows:
        """The images of a split."""

    def labels(self, split: Split) -> np.ndarray | None:
        """int64 N, or None where there are no labels."""


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory, all of them in every split; `info` is that of the dataset they imitate."""

    info: DatasetInfo
    images_NHWC: np.ndarray
    labels_N: np.ndarray

    def images(self, split: Split) -> np.ndarray:
        """uint8 NHWC."""
        return self.images_NHWC

    def labels(self, split: Split) -> np.ndarray:
        """int64 N."""
        return self.labels_N


class Batches:
    """An endless, shuffled stream over one split; its position is `images_seen`, nothing else.

    Epoch e is the permutation drawn from a generator seeded by (seed, e); batches cross epoch borders, so every image
    is seen equally often whatever the batch size.
    """

    def __init__(self, dataset: Images, split: Split, batch_size: int, seed: int, device: torch.device) -> None:
        self._images_NHWC = dataset.images(split)
        self._labels_N = dataset.labels(split)
        if len(self._images_NHWC) < batch_size:
            raise TrainingError(
                f"the {split} split of this dataset has {len(self._images_NHWC)} images, fewer than batch_size = "
                f"{batch_size}. Add pictures, or lower training.batch_size."
            )
        self._batch_size, self._seed, self._device = batch_size, seed, device
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def at(self, images_seen: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch that starts at position `images_seen` of the stream.

        Returns:
            x_BCHW: float32 in [0, 1], channels_last, on the device.
            labels_B: int64 class numbers; all 0 where the dataset has no labels.
        """
        positions = np.arange(images_seen, images_seen + self._batch_size)
        epochs, offsets = np.divmod(positions, len(self._images_NHWC))
        rows = np.concatenate([self._epoch_order(epoch)[offsets[epochs == epoch]] for epoch in np.unique(epochs)])
        x_BCHW = to_images(self._images_NHWC[rows], self._device)
        labels_B = np.zeros(len(rows), np.int64) if self._labels_N is None else self._labels_N[rows]
        return x_BCHW, torch.from_numpy(labels_B).to(self._device, non_blocking=True)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            rng = np.random.Generator(np.random.PCG64([self._seed, int(epoch)]))
            self._epoch, self._order = epoch, rng.permutation(len(self._images_NHWC))
        return self._order


def require_labels(dataset: Images) -> None:
    """Refuse a dataset with classes in which some pictures belong to none.

    Raises:
        TrainingError: with their number.
    """
    for split in SPLITS:
        labels_N = dataset.labels(split)
        if labels_N is not None and (count := int((labels_N == NO_LABEL).sum())):
            raise TrainingError(
                f"{count} of the {len(labels_N)} pictures of the {split} split lie outside of every class folder, so "
                "their class isn't known. Move them into the folders of their classes, or elsewhere."
            )


def to_images(pixels_BHWC: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 pixels as stored -> float32 NCHW in [0, 1], channels_last in memory."""
    x_BHWC = torch.from_numpy(np.array(pixels_BHWC, order="C")).to(device, non_blocking=True)  # a map is read-only
    return x_BHWC.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)


def flip_at_random(x_BCHW: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Mirror each image left-right with probability 1/2."""
    flip_B = torch.rand(len(x_BCHW), generator=rng) < 0.5
    return torch.where(flip_B.to(x_BCHW.device)[:, None, None, None], x_BCHW.flip(-1), x_BCHW)
