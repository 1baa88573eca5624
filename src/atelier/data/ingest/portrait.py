"""A picture of a dataset, for people to look at before they trust it: sheets and histograms.

Shapes: H height, W width, C channels of a sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from atelier.data.manifest import NO_LABEL
from atelier.data.splits import SPLITS, Split
from atelier.data.store import StoredDataset

Pixels = NDArray[np.uint8]

CELL = 64  # pixels: pictures are scaled down to this side; small ones are enlarged by whole numbers
MARGIN = 4
CAPTION = 12  # pixels of height, for one line of text
COLUMNS = 16  # of a sheet, at most
ROWS = 12
BINS = 40


def contact_sheet(dataset: StoredDataset, split: Split) -> Pixels | None:
    """Pictures of a split, a row for each class where there are classes.

    None if the split is empty.
    Which ones is a function of their content: the first in the order of their hashes.
    """
    images = dataset.images(split)
    labels = dataset.labels(split)
    if not len(images):
        return None
    positions: list[tuple[str, Sequence[int]]]
    if labels is None:
        starts = range(0, len(images), COLUMNS)
        positions = [("", range(start, min(start + COLUMNS, len(images)))) for start in starts]
    else:
        positions = _positions_by_class(labels, dataset.info.class_names)
    rows = []
    for caption, row in positions[:ROWS]:
        rows.append((caption, [thumbnail(images[position]) for position in row]))
    return sheet(rows)


def _positions_by_class(
    labels: NDArray[Any], class_names: Sequence[str]
) -> list[tuple[str, Sequence[int]]]:
    """The first pictures of each class that has some, and of those without one."""
    numbers = [*enumerate(class_names), (NO_LABEL, "no class")]
    rows: list[tuple[str, Sequence[int]]] = []
    for number, name in numbers:
        positions = np.flatnonzero(labels == number)
        if len(positions):
            rows.append((name, positions[:COLUMNS].tolist()))
    return rows


def sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Pixels:
    """Rows of thumbnails on white, each with a line of text above it where it has one."""
    height = CELL + MARGIN
    if any(caption for caption, _ in rows):
        height += CAPTION
    num_columns = max(len(pictures) for _, pictures in rows)
    size = (num_columns * (CELL + MARGIN) + MARGIN, len(rows) * height + MARGIN)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for number, (caption, pictures) in enumerate(rows):
        top = MARGIN + number * height
        if caption:
            draw.text((MARGIN, top), caption, fill="black")
        for column, cell in enumerate(pictures):
            left = MARGIN + column * (CELL + MARGIN) + (CELL - cell.width) // 2
            canvas.paste(cell, (left, top + height - MARGIN - CELL + (CELL - cell.height) // 2))
    return np.asarray(canvas)


def histograms(dataset: StoredDataset) -> Pixels:
    """Images of each class, brightness, contrast and, where it varies, size, by split."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 2)
    parts = {split: dataset.manifest.of(split) for split in SPLITS if dataset.info.counts[split]}
    _bars(axes[0, 0], dataset)
    means = {split: rows.means for split, rows in parts.items()}
    _distribution(axes[0, 1], "mean brightness", means)
    stds = {split: rows.stds for split, rows in parts.items()}
    _distribution(axes[1, 0], "contrast (std)", stds)
    sides = {split: np.minimum(rows.heights, rows.widths) for split, rows in parts.items()}
    if dataset.info.image_size is None:
        _distribution(axes[1, 1], "shorter side, pixels", sides)
    else:
        axes[1, 1].set_axis_off()
    figure.suptitle(f"{dataset.name}: {sum(dataset.info.counts.values()):,} images")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def thumbnail(pixels_HWC: Pixels) -> Image.Image:
    """A picture at the size that a sheet has room for."""
    is_grey = pixels_HWC.shape[-1] == 1
    image = Image.fromarray(pixels_HWC[..., 0] if is_grey else pixels_HWC)
    if max(image.size) > CELL:
        return ImageOps.contain(image, (CELL, CELL), Image.Resampling.BOX)
    times = CELL // max(image.size)
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _bars(ax: Any, dataset: StoredDataset) -> None:
    names = dataset.info.class_names or ("images",)
    bottom = np.zeros(len(names))
    for split in SPLITS:
        labels = dataset.labels(split)
        counts = np.array([dataset.info.counts[split]])
        if labels is not None:
            counts = np.bincount(labels[labels >= 0], minlength=len(names))
        ax.bar(range(len(names)), counts, bottom=bottom, label=split)
        bottom += counts
    ax.set_title("images of each class" if dataset.info.class_names else "images")
    step = max(1, len(names) // 12)  # more names than that can't be read
    ax.set_xticks(
        range(0, len(names), step),
        names[::step],
        rotation=45,
        ha="right",
        fontsize=7,
        parse_math=False,
    )
    ax.legend(fontsize=7)


def _distribution(ax: Any, title: str, values: dict[Split, NDArray[Any]]) -> None:
    """Shares, not counts: splits of different sizes lie on each other where they agree."""
    every = np.concatenate(list(values.values()))
    bins = np.linspace(every.min(), max(every.max(), every.min() + 1), BINS + 1)
    for split, column in values.items():
        weights = np.full(len(column), 1 / len(column))
        ax.hist(column, bins=bins, weights=weights, histtype="step", label=split)
    ax.set_title(title)
    ax.set_ylabel("share of the split", fontsize=7)
