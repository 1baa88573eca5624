"""What a model can't learn from its images: augmentations and degradations that don't fit them."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.params.datasets import Dataset
from atelier.params.degradations import Drawn, largest
from atelier.params.models import GanModel, Model, RestorationModel, TranslationModel
from atelier.params.size_checks import smallest, trained_sides
from atelier.params.training import Augment


def content_errors(where: str, model: Model, dataset: Dataset, max_side: int) -> Iterator[str]:
    """One line for each part of a model that doesn't fit its images.

    Args:
        where: the model's dotted path.
        model: whose sizes fit.
        dataset: that it learns from.
        max_side: of the test images that are scored.
    """
    yield from _augment_errors(where, model, dataset)
    if isinstance(model, RestorationModel):
        yield from _degradation_errors(where, model, dataset, max_side)
        if model.network.noise_level and model.degradation[-1].noise is None:
            yield (
                f"{where}.network.noise_level: "
                "the level is known only where `noise` is the last step. Remove it."
            )
    if isinstance(model, TranslationModel):
        yield from _translation_errors(where, model, dataset, max_side)
    limit = model.data.limit
    num_needed = model.training.batch_size
    key = "training.batch_size"
    if isinstance(model, TranslationModel) and model.damaged is None:  # it damages half of them
        num_needed *= 2
        key = "2 * training.batch_size"
    if limit is not None and limit < num_needed:
        yield f"{where}.data.limit = {limit} must not be smaller than {key} = {num_needed}."


def _translation_errors(
    where: str, model: TranslationModel, dataset: Dataset, max_side: int
) -> Iterator[str]:
    yield from _degradation_errors(where, model, dataset, max_side)
    for position, step in enumerate(model.degradation or ()):
        if step.downsample is not None:
            yield (
                f"{where}.degradation.{position}: a translation keeps the size of its images, "
                "so it can't undo downsample. Remove it, or take kind: restoration."
            )
    if model.network.noise_level:
        yield (
            f"{where}.network.noise_level: "
            "nobody tells a translation the level of the noise. Remove it."
        )


def _augment_errors(where: str, model: Model, dataset: Dataset) -> Iterator[str]:
    augment = model.training.augment
    name, side = smallest(trained_sides(model, dataset))
    for key, pixels in (("crop", augment.crop), ("cutout", augment.cutout)):
        if pixels >= side:
            yield f"{where}.training.augment.{key} = {pixels} must be smaller than {name} = {side}."
    if isinstance(model, GanModel):
        # What is always done to real images is learnt as theirs: Karras et al. 2020,
        # arXiv:2006.06676, section 2.2.
        for key in [name for name in Augment.model_fields if name != "flip"]:
            if getattr(augment, key):
                yield (
                    f"{where}.training.augment.{key}: a GAN learns to draw what it is shown, "
                    "so its images would be changed alike. Remove it; a GAN can only flip."
                )


def _degradation_errors(
    where: str, model: RestorationModel | TranslationModel, dataset: Dataset, max_side: int
) -> Iterator[str]:
    trained = trained_sides(model, dataset)
    scored = {
        f"datasets.{model.dataset}.min_size": dataset.shortest_side,
        "evaluation.max_side": max_side,
    }
    name, side = smallest(trained if dataset.image_size else trained | scored)
    limit = f"must be smaller than {name} = {side}."
    steps = model.degradation or ()
    for position, step in enumerate(steps):
        here = f"{where}.degradation.{position}"
        if step.mask is not None and largest(step.mask.size) >= side:
            yield f"{here}.mask.size = {_as_in_file(step.mask.size)} {limit}"
        if step.strokes is not None and largest(step.strokes.width) >= side:
            yield f"{here}.strokes.width = {_as_in_file(step.strokes.width)} {limit}"
        if step.decolourise is not None and dataset.channels == 1:
            yield (
                f"{here}: decolourise changes nothing, "
                f"because datasets.{model.dataset}.channels = 1. Remove it."
            )
        if step.downsample is not None and position != len(steps) - 1:
            yield f"{here}: downsample must be the last step. Move it to the end."
        if step.downsample is not None:
            factor = step.downsample.factor
            for key, pixels in trained.items():
                if pixels % factor:
                    yield f"{here}.downsample.factor = {factor} must divide {key} = {pixels}."


def _as_in_file(value: Drawn) -> str:
    """As it stands in the file."""
    return str(list(value) if isinstance(value, tuple) else value)
