"""A stored split as a dataset of torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from atelier.data.splits import Split
from atelier.data.store import StoredDataset


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images of a split and their classes, read from memory-mapped shards as they are asked for.

    Attributes:
        class_names: of the classes, in the order of their numbers; empty: there are none.
    """

    def __init__(self, dataset: StoredDataset, split: Split) -> None:
        self._images = dataset.images(split)
        self._labels_N = dataset.labels(split)
        self.class_names = dataset.info.class_names

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """An image, float32 CHW in [0, 1], and the number of its class; -1: none."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        pixels_HWC = self._images[index % len(self)]
        image_CHW = torch.tensor(pixels_HWC).permute(2, 0, 1).to(torch.float32) / 255
        label = -1 if self._labels_N is None else int(self._labels_N[index % len(self)])
        return image_CHW, label
