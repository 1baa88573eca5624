"""Generated images among the training images.

Drawn once, kept in a file of pixels, read as one array with the stored.

Shapes: N images, G generated images, H height, W width, C channels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atelier.data.splits import Split
from atelier.data.store import DatasetInfo
from atelier.errors import TrainingError
from atelier.pictures import Floats, to_pixels
from atelier.training.datasets import TrainingImages
from atelier.training.pixels import JoinedPixels

CHUNK = 1000  # images drawn with one seed, in all classes in turn: bounds memory
MOST = 20_000  # images, where their number is not given


def draw_images(
    generate: Callable[[int, int], Floats], shape: tuple[int, int, int, int], seed: int, file: Path
) -> None:
    """Write generated images as uint8 NHWC to `file` in one step; nothing happens if it is there.

    Args:
        generate: (num_images, seed) -> x_NCHW in [0, 1].
        shape: NHWC of all of them.
        seed: of the training; each `CHUNK` images have a seed of their own that it determines.
        file: where they are kept.

    Raises:
        TrainingError: if it can't be written.
    """
    if file.is_file() and file.stat().st_size == np.prod(shape):
        return
    temporary = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            for chunk, start in enumerate(range(0, shape[0], CHUNK)):
                (own_seed,) = np.random.SeedSequence([seed, chunk]).generate_state(1).tolist()
                stream.write(to_pixels(generate(min(CHUNK, shape[0] - start), own_seed)).tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        raise TrainingError(
            f"{file} can't be written: {error}. It holds the generated training images."
        ) from None


def read_images(file: Path, info: DatasetInfo) -> NDArray[np.uint8]:
    """The images of `draw_images`, GHWC, mapped: only what is indexed is read."""
    assert info.image_size is not None  # params.references
    return np.asarray(np.memmap(file, np.uint8, "r")).reshape(
        -1, info.image_size, info.image_size, info.channels
    )


@dataclass(frozen=True)
class ExtendedImages:
    """The first `limit` images of a split, followed by generated ones; without labels.

    Attributes:
        dataset: all of whose images have one size.
        limit: None: all.
        generated_GHWC: uint8, of that size.
    """

    dataset: TrainingImages
    limit: int | None
    generated_GHWC: NDArray[np.uint8]

    @property
    def info(self) -> DatasetInfo:
        """That of the dataset."""
        return self.dataset.info

    def images(self, split: Split) -> JoinedPixels:
        """Stored and generated images."""
        stored = self.dataset.images(split)
        return JoinedPixels(
            stored, min(len(stored), self.limit or len(stored)), self.generated_GHWC
        )

    def labels(self, split: Split) -> None:
        """None: nobody asks a restorer's images for them."""
