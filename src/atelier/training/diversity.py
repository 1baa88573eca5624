"""How varied generated images are, measured in passing while a GAN trains.

Cheap, and enough to see a collapse.

Shapes: N real images, M generated images, C channels, H height, W width, F values of an image, K
classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from atelier.training.datasets import TrainingImages
from atelier.training.pixels import to_images

NUM_REAL = 2048
CHUNK = 64  # of them in memory at a time
# Images are compared after averaging down to so many pixels a side: their layout, not their noise.
SIDE = 8


class Diversity:
    """Compares generated images with real training images, class by class.

    Args:
        dataset: the first training images of it are the measure.
        conditional: whether images are drawn, and so compared, class by class.
        device: where generated images lie.
    """

    def __init__(self, dataset: TrainingImages, conditional: bool, device: torch.device) -> None:
        images = dataset.images("train")
        starts = range(0, min(NUM_REAL, len(images)), CHUNK)
        chunks = (images[start : min(start + CHUNK, NUM_REAL)] for start in starts)
        real_NF = torch.cat([_flattened(to_images(chunk, device)) for chunk in chunks])
        all_labels = dataset.labels("train")
        labels = [0] * len(real_NF) if all_labels is None else all_labels[: len(real_NF)].tolist()
        labels_N = torch.tensor(labels, device=device)
        self._real_variance = _variance_within(
            real_NF, labels_N if conditional else torch.zeros_like(labels_N)
        )
        self._means_KF = torch.stack(
            [real_NF[labels_N == label].mean(dim=0) for label in _classes(labels_N)]
        )
        self._real_balance = self._balance(real_NF)

    def of(self, fake_MCHW: Tensor, labels_M: Tensor) -> dict[str, float]:
        """Values to log.

        Args:
            fake_MCHW: generated images in [0, 1], equally many of each class.
            labels_M: the classes that were asked for.

        Returns:
            diversity: variance within classes over that of real images, about 1 if all is well, 0
                if each class is one image. class_balance, where there are classes: entropy of the
                classes (each image counts as the class whose mean is nearest) over that of real
                images.
        """
        fake_MF = _flattened(fake_MCHW)
        values = {
            "diversity": float(
                _variance_within(fake_MF, labels_M) / self._real_variance.clamp(min=1e-12)
            )
        }
        if len(self._means_KF) > 1:
            values["class_balance"] = self._balance(fake_MF) / max(1e-12, self._real_balance)
        return values

    def _balance(self, x_MF: Tensor) -> float:
        nearest_M = torch.cdist(x_MF, self._means_KF).argmin(dim=1)
        shares_K = F.one_hot(nearest_M, len(self._means_KF)).float().mean(dim=0)
        return float(torch.special.entr(shares_K).sum())


def _flattened(x_NCHW: Tensor) -> Tensor:
    return F.interpolate(x_NCHW, size=(SIDE, SIDE), mode="area").flatten(1)


def _classes(labels_N: Tensor) -> list[int]:
    return sorted(set(labels_N.tolist()))


def _variance_within(x_NF: Tensor, labels_N: Tensor) -> Tensor:
    """Mean variance of a value about the mean of its class."""
    spreads = [
        x_NF[labels_N == label].var(dim=0, correction=0).mean() for label in _classes(labels_N)
    ]
    return torch.stack(spreads).mean()
