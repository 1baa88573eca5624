"""The test images of a restorer, degraded: the same pixels for every model and baseline.

Shapes: N test images, n of them of one size, C channels, H height, W width, h and w of the degraded
image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atelier.data.store import StoredDataset
from atelier.degradations import Steps, degrade_fixed, hidden_pixels, upscale_of
from atelier.evaluation.common import Protocol, runs_of_one_size
from atelier.training.pixels import sizes_of, to_images


@dataclass(frozen=True)
class Degraded:
    """Some neighbouring test images of one size; float32 on the CPU."""

    first: int  # position of the first of them in the test split
    clean_nCHW: Tensor  # in [0, 1]
    y_nChw: Tensor  # not clipped
    hidden_n1hw: Tensor  # bool: what masks hide
    seeds: list[int]  # of the degradation: each image's own content


def degraded_images(
    dataset: StoredDataset, steps: Steps, protocol: Protocol, most: int | None = None
) -> Iterator[Degraded]:
    """The test images that are scored, a few at a time.

    Args:
        dataset: whose test split is used. Of images that keep their own size the centre is taken,
            of `max_side` pixels at most, and of a multiple of the downsampling factor.
        steps: the degradation; fixed for each image by its content hash.
        protocol: how to score.
        most: only the first so many of them.
    """
    pixels, hashes, factor = dataset.images("test"), dataset.hashes("test"), upscale_of(steps)
    stored_N2 = sizes_of(pixels)[: protocol.params.num_images][:most]
    sizes_N2 = stored_N2
    if dataset.info.image_size is None:
        sizes_N2 = np.minimum(stored_N2, protocol.params.max_side) // factor * factor
    corners_N2 = (stored_N2 - sizes_N2) // 2
    for rows in runs_of_one_size(sizes_N2):
        (height, width), images = sizes_N2[rows.start].tolist(), range(rows.start, rows.stop)
        cut = [
            pixels[image, top : top + height, left : left + width]
            for image, (top, left) in zip(images, corners_N2[rows].tolist(), strict=True)
        ]
        x_nCHW = to_images(np.stack(cut), torch.device("cpu")).contiguous()
        seeds = [int(sha256[:12], 16) for sha256 in hashes[rows]]
        y_nChw, hidden_n1hw = (
            degrade_fixed(x_nCHW, steps, seeds),
            hidden_pixels(x_nCHW.shape, steps, seeds),
        )
        yield Degraded(rows.start, x_nCHW, y_nChw, hidden_n1hw, seeds)
