"""Images to learn from: made ones, or those of a folder that was brought along.

That folder may hold `fashion-mnist/` (the four files as published), `train/` (photographs) and
`set12/` (photographs to score on); pictures that lie in it directly are scored on.
Shapes: N images, H height, W width, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atelier.data.sources.idx import parse_idx, read_bytes
from atelier.data.splits import Split
from atelier.data.store import DatasetInfo
from atelier.training.datasets import ArrayImages
from benchmarks.on_card.setting import SEED, Setting
from benchmarks.protocols import grey, picture_files

CLASSES = 10
FASHION_SIZE = 28
CROP = 180  # pixels: side of the photographs of BSD400, which DnCNN was trained on


@dataclass(frozen=True)
class SplitImages:
    """Images in memory, other ones in each split."""

    name: str
    info: DatasetInfo
    splits: dict[Split, tuple[NDArray[np.uint8], NDArray[np.int64]]]

    def images(self, split: Split) -> NDArray[np.uint8]:
        """uint8 NHWC."""
        return self.splits[split][0]

    def labels(self, split: Split) -> NDArray[np.int64]:
        """int64 N."""
        return self.splits[split][1]


def labelled_images(count: int, size: int, channels: int = 1, seed: int = SEED) -> ArrayImages:
    """Stripes whose direction is their class, under a little noise."""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(count) % CLASSES
    angles_N11 = (np.pi * labels_N / CLASSES)[:, None, None]
    rows_H1 = np.arange(size)[:, None]
    along_NHW = np.cos(angles_N11) * rows_H1 + np.sin(angles_N11) * np.arange(size)
    phases_N11 = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    stripes_NHW = np.sin(2 * np.pi * along_NHW / 8 + phases_N11)
    noisy_NHW = 127.5 + 100 * stripes_NHW + 8 * rng.standard_normal(stripes_NHW.shape)
    pixels_NHW = noisy_NHW.clip(0, 255).astype(np.uint8)
    pixels_NHWC = np.repeat(pixels_NHW[..., None], channels, axis=-1)
    names = tuple(f"class {number}" for number in range(CLASSES))
    counts: dict[Split, int] = {"train": count, "validation": count, "test": count}
    return ArrayImages(DatasetInfo(size, channels, CLASSES, names, counts), pixels_NHWC, labels_N)


def fashion(setting: Setting) -> SplitImages:
    """Fashion-MNIST where it was brought along, else made images of its size."""
    folder = setting.shard / "fashion-mnist" if setting.shard else None
    if folder is None or not folder.is_dir():
        number = 600 if setting.quick else 20_000
        train = labelled_images(number, FASHION_SIZE)
        test = labelled_images(number // 2, FASHION_SIZE, seed=SEED + 1)
        return _fashion(
            "made stripes",
            (train.images_NHWC, train.labels_N),
            (test.images_NHWC, test.labels_N),
        )
    return _fashion("Fashion-MNIST", _read_part(folder, "train"), _read_part(folder, "t10k"))


def _fashion(
    name: str,
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> SplitImages:
    counts: dict[Split, int] = {"train": len(train[1]), "validation": len(test[1])}
    counts["test"] = len(test[1])
    names = tuple("0123456789")
    info = DatasetInfo(FASHION_SIZE, 1, CLASSES, names, counts)
    return SplitImages(name, info, {"train": train, "validation": test, "test": test})


def _read_part(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images = folder / f"{part}-images-idx3-ubyte.gz"
    labels = folder / f"{part}-labels-idx1-ubyte.gz"
    pixels_NHW = parse_idx(read_bytes(images), images.name)
    labels_N = parse_idx(read_bytes(labels), labels.name).astype(np.int64)
    return pixels_NHW[..., None].copy(), labels_N  # torch wants what it may write to


def photographs(setting: Setting) -> tuple[str, ArrayImages]:
    """What the photograph denoiser learns from, and its name: grey, all of one size."""
    folder = setting.shard / "train" if setting.shard else None
    if folder is not None and folder.is_dir():
        return f"pictures of {folder.name}/", _without_labels(_central_squares(folder))
    side = 64 if setting.quick else CROP
    return "made rectangles", _without_labels(rectangles(64 if setting.quick else 400, side))


def test_photographs(setting: Setting) -> tuple[str, list[NDArray[np.uint8]]]:
    """What it is scored on, uint8 HW, and the name of it."""
    for folder in _test_folders(setting):
        files = picture_files(folder)
        if files:
            pictures = []
            for path in files:
                with Image.open(path) as image:
                    pictures.append(grey(image))
            return folder.name, pictures
    side = 64 if setting.quick else 256
    return "made rectangles", list(rectangles(4, side, SEED + 1)[..., 0])


def _test_folders(setting: Setting) -> list[Path]:
    if setting.shard is None:
        return []
    folders = (setting.shard / "set12", setting.shard)
    return [folder for folder in folders if folder.is_dir()]


def _central_squares(folder: Path) -> NDArray[np.uint8]:
    """Of all pictures that are large enough, uint8 NHWC."""
    squares = []
    for path in picture_files(folder):
        with Image.open(path) as image:
            pixels_HW = grey(image)
        top, left = ((side - CROP) // 2 for side in pixels_HW.shape)
        if min(top, left) >= 0:
            squares.append(pixels_HW[top : top + CROP, left : left + CROP, None])
    return np.stack(squares)


def rectangles(count: int, side: int, seed: int = SEED) -> NDArray[np.uint8]:
    """Overlapping rectangles of one grey each, uint8 NHWC: edges and flat parts, as in photographs.

    Source: dead leaves, of which Lee et al. 2001 make pictures with the statistics of photographs.
    """
    rng = np.random.default_rng(seed)
    pixels_NHWC = np.zeros((count, side, side, 1), np.uint8)
    for picture_HWC in pixels_NHWC:
        for _ in range(60):
            top, left = rng.integers(-side // 4, side, 2)
            height, width = rng.integers(side // 16 + 1, side // 2, 2)
            rows = slice(max(0, top), max(0, top + height))
            columns = slice(max(0, left), max(0, left + width))
            picture_HWC[rows, columns] = rng.integers(0, 256)
    return pixels_NHWC


def _without_labels(pixels_NHWC: NDArray[np.uint8]) -> ArrayImages:
    count, size, _, channels = pixels_NHWC.shape
    counts: dict[Split, int] = {"train": count, "validation": count, "test": count}
    info = DatasetInfo(size, channels, 0, (), counts)
    return ArrayImages(info, pixels_NHWC, np.zeros(count, np.int64))
