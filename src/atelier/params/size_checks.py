"""Sizes of images that networks and training crops can't work with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from atelier.params.datasets import Dataset
from atelier.params.models import GanModel, Model, RestorationModel, TranslationModel


def size_errors(where: str, model: Model, dataset: Dataset) -> Iterator[str]:
    """Batches, and all networks but restorers, need images of one size.

    Crops have to fit into the smallest one.
    """
    crop_size = model.training.crop_size
    section = f"datasets.{model.dataset}"
    if dataset.image_size is None and not isinstance(model, RestorationModel | TranslationModel):
        network = "GAN" if isinstance(model, GanModel) else "classifier"
        yield f"{where}: a {network} needs images of one size. Add {section}.image_size."
    if isinstance(model, GanModel) and crop_size is not None:
        yield (
            f"{where}.training.crop_size: a GAN learns whole images. "
            f"Remove it, or lower {section}.image_size."
        )
    elif crop_size is not None and crop_size > (dataset.image_size or dataset.shortest_side):
        limit = f"{section}.min_size = {dataset.shortest_side}"
        if dataset.image_size:
            limit = f"{section}.image_size = {dataset.image_size}"
        yield f"{where}.training.crop_size = {crop_size} must not be larger than {limit}."
    if isinstance(model, GanModel) and dataset.image_size is not None:
        yield from _resolution_errors(where, model, dataset, dataset.image_size)


def _resolution_errors(where: str, model: GanModel, dataset: Dataset, size: int) -> Iterator[str]:
    """Which sizes the networks can draw."""
    section = f"datasets.{model.dataset}"
    is_growing = "progressive" in (model.generator.name, model.discriminator.name)
    possible = 2 ** round(math.log2(size))
    if is_growing and size != possible:
        # Pictures of the old size would be refused.
        larger = dataset.min_size is None and size < possible
        remedy = f"Set it to {possible}"
        if larger:
            remedy += f", and {section}.min_size to {size}: smaller pictures are enlarged"
        yield (
            f"{where}: a progressive GAN doubles its resolution from 8 pixels on, "
            f"so {section}.image_size = {size} must be 16, 32, 64, 128 or 256. {remedy}."
        )
    elif size % 4:
        yield (
            f"{where}: the generator doubles its resolution twice, "
            f"so {section}.image_size = {size} must be a multiple of 4."
        )


def trained_sides(model: Model, dataset: Dataset) -> dict[str, int]:
    """Sides of the squares that a model learns from, and of images of one size, by their keys."""
    sides = {
        f"datasets.{model.dataset}.image_size": dataset.image_size,
        "training.crop_size": model.training.crop_size,
    }
    return {key: pixels for key, pixels in sides.items() if pixels is not None}


def smallest(sides: Mapping[str, int]) -> tuple[str, int]:
    """The smallest side, with its key."""
    return min(sides.items(), key=lambda side: side[1])
