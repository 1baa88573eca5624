"""Combinations of parameters that can't work, found before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from atelier.params.datasets import Dataset
from atelier.params.degradations import Drawn, largest
from atelier.params.errors import nearest
from atelier.params.extractors import NUM_FEATURES, InceptionFile
from atelier.params.models import (
    Augment,
    ClassificationModel,
    GanModel,
    Model,
    Params,
    RestorationModel,
    TranslationModel,
)
from atelier.params.promotion import Gate
from atelier.params.reference_checks import reference_errors, schedule_errors
from atelier.params.score_checks import score_errors

# What an evaluation of each kind measures, by the extractor; a test compares it with what
# evaluations return.
_VIEWS = ("clean", "degraded", "restored")
_SEEN = [
    f"{metric}_{view}" for metric in ("accuracy", "macro_recall", "macro_f1") for view in _VIEWS
]
# ms_ssim: of images that are large enough; lpips: where its weights are given.
_PIXELS = ["mse", "psnr", "ssim", "ms_ssim", "lpips", "psnr_gain"]
_CLASSES = ["is_classifier", "class_balance", "rarest_class", "class_accuracy", "cas"]
_DISTANCES = ("fd", "kid", "precision", "recall", "density", "coverage")


def distances(extractor: str) -> list[str]:
    """Scores of how two sets of images differ; the first is the Frechet distance."""
    if not extractor:
        return []
    names = [f"{metric}_{extractor}" for metric in _DISTANCES]
    return ["fid", *names[1:]] if extractor == "inception" else names


def metrics(kind: str, extractor: str) -> list[str]:
    """What an evaluation of a kind of model can measure with an extractor.

    Without one its name is empty.
    """
    knows_classes = extractor == "classifier"
    match kind:
        case "classification":
            return ["accuracy", "macro_recall", "macro_f1"]
        case "gan":
            return [
                *distances(extractor),
                *(["memorisation"] if extractor else []),
                *(_CLASSES if knows_classes else []),
            ]
    seen = [*_SEEN, "accuracy_gain"] if knows_classes else []
    return [*_PIXELS, *seen, *(distances(extractor) if kind == "translation" else [])]


def combination_errors(params: Params) -> list[str]:
    """One line for each impossible combination, with its dotted path and what to do."""
    of_models = [*_evaluation_errors(params), *_model_errors(params), *reference_errors(params)]
    return [*of_models, *_gate_errors(params), *score_errors(params), *schedule_errors(params)]


def _evaluation_errors(params: Params) -> Iterator[str]:
    asked = params.evaluation
    name = asked.classifier
    if name and not isinstance(params.models.get(name), ClassificationModel):
        classifiers = [
            key for key, model in params.models.items() if isinstance(model, ClassificationModel)
        ]
        yield (
            f"evaluation.features: {name!r} is not a classification model of this "
            f"file.{nearest(name, classifiers)}"
        )
    for key, extractor, given in (
        ("efficientnet_side", "efficientnet", asked.efficientnet_side != 224),
        ("inception", "inception", asked.inception != InceptionFile()),
    ):
        if given and asked.extractor != extractor:
            yield (
                f"evaluation.{key}: evaluation.features names another extractor, so it has no "
                "effect. Remove it."
            )


def _model_errors(params: Params) -> Iterator[str]:
    for name, model in params.models.items():
        where = f"models.{name}"
        dataset = params.datasets.get(model.dataset)
        if dataset is None:
            hint = nearest(model.dataset, list(params.datasets))
            yield f"{where}.dataset = {model.dataset!r} is not one of the datasets.{hint}"
            continue
        yield from _pair_errors(where, model)
        if isinstance(model, TranslationModel) and model.damaged is not None:
            yield from _damaged_errors(where, model, model.damaged, params)
        problems = list(_size_errors(where, model, dataset))
        yield from problems or _content_errors(where, model, dataset, params.evaluation.max_side)
        if isinstance(model, GanModel):
            yield from _extractor_errors(f"{where}: a GAN", model, params)


def _extractor_errors(what: str, model: Model, params: Params) -> Iterator[str]:
    """Of a model that nothing but features can score."""
    if params.evaluation.published_weights:
        return
    extractor = params.models.get(params.evaluation.classifier)
    if params.evaluation.features is None:
        learns = "isn't given"
    elif (
        extractor is None or extractor.dataset == model.dataset
    ):  # a name that is unknown is an error of its own
        return
    else:
        learns = f"learns {extractor.dataset!r}, not {model.dataset!r}"
    yield (
        f"{what} is scored on the features of evaluation.features, which {learns}. Train a "
        f"classifier on {model.dataset!r} and name it there, or write efficientnet_lite0 or "
        "inception."
    )


def _pair_errors(where: str, model: Model) -> Iterator[str]:
    if isinstance(model, GanModel):
        generator, discriminator = model.generator.name, model.discriminator.name
        if (generator == "progressive") != (discriminator == "progressive"):
            yield (
                f"{where}: the generator {generator!r} and the discriminator {discriminator!r} "
                "can't grow together. Name 'progressive' in both, or in neither."
            )


def _size_errors(where: str, model: Model, dataset: Dataset) -> Iterator[str]:
    """Batches, and all networks but restorers, need images of one size.

    Crops have to fit into the smallest one.
    """
    crop_size, section = model.training.crop_size, f"datasets.{model.dataset}"
    if dataset.image_size is None and not isinstance(model, RestorationModel | TranslationModel):
        network = "GAN" if isinstance(model, GanModel) else "classifier"
        yield f"{where}: a {network} needs images of one size. Add {section}.image_size."
    elif dataset.image_size is None and crop_size is None:
        yield (
            f"{where}.training.crop_size: missing. Add it, because {section} keeps each picture's "
            "own size."
        )
    if isinstance(model, GanModel) and crop_size is not None:
        yield (
            f"{where}.training.crop_size: a GAN learns whole images. Remove it, or lower "
            f"{section}.image_size."
        )
    elif crop_size is not None and crop_size > (dataset.image_size or dataset.shortest_side):
        key, limit = (
            ("image_size", dataset.image_size)
            if dataset.image_size
            else ("min_size", dataset.shortest_side)
        )
        yield (
            f"{where}.training.crop_size = {crop_size} must not be larger than {section}.{key} = "
            f"{limit}."
        )
    if isinstance(model, GanModel) and dataset.image_size is not None:
        yield from _resolution_errors(where, model, dataset, dataset.image_size)


def _resolution_errors(where: str, model: GanModel, dataset: Dataset, size: int) -> Iterator[str]:
    """Which sizes the networks can draw."""
    section, growing = (
        f"datasets.{model.dataset}",
        "progressive" in (model.generator.name, model.discriminator.name),
    )
    possible = 2 ** round(math.log2(size))
    if growing and size != possible:
        # Pictures of the old size would be refused.
        larger = dataset.min_size is None and size < possible
        remedy = (
            f", and {section}.min_size to {size}: smaller pictures are enlarged" if larger else ""
        )
        yield (
            f"{where}: a progressive GAN doubles its resolution from 8 pixels on, so "
            f"{section}.image_size = {size} must be 16, 32, 64, 128 or 256. Set it to "
            f"{possible}{remedy}."
        )
    elif size % 4:
        yield (
            f"{where}: the generator doubles its resolution twice, so {section}.image_size = "
            f"{size} must be a multiple of 4."
        )


def _content_errors(where: str, model: Model, dataset: Dataset, max_side: int) -> Iterator[str]:
    yield from _augment_errors(where, model, dataset)
    if isinstance(model, RestorationModel):
        yield from _degradation_errors(where, model, dataset, max_side)
        if model.network.noise_level and model.degradation[-1].noise is None:
            yield (
                f"{where}.network.noise_level: the level is known only where `noise` is the last "
                "step. Remove it."
            )
    if isinstance(model, TranslationModel):
        yield from _translation_errors(where, model, dataset, max_side)
    limit, batch_size = model.data.limit, model.training.batch_size
    halved = isinstance(model, TranslationModel) and model.damaged is None
    if limit is not None and limit < batch_size * (1 + halved):
        batch = "2 * training.batch_size" if halved else "training.batch_size"
        yield (
            f"{where}.data.limit = {limit} must not be smaller than {batch} = "
            f"{batch_size * (1 + halved)}."
        )


def _translation_errors(
    where: str, model: TranslationModel, dataset: Dataset, max_side: int
) -> Iterator[str]:
    yield from _degradation_errors(where, model, dataset, max_side)
    for position, step in enumerate(model.degradation or ()):
        if step.downsample is not None:
            yield (
                f"{where}.degradation.{position}: a translation keeps the size of its images, so "
                "it can't undo downsample. Remove it, or take kind: restoration."
            )
    if model.network.noise_level:
        yield (
            f"{where}.network.noise_level: nobody tells a translation the level of the noise. "
            "Remove it."
        )


def _damaged_errors(
    where: str, model: TranslationModel, name: str, params: Params
) -> Iterator[str]:
    """Damaged pictures without originals are scored on features, as a GAN's images are."""
    clean, damaged = params.datasets[model.dataset], params.datasets.get(name)
    if damaged is None or name == model.dataset:
        others = [key for key in params.datasets if key != model.dataset]
        yield (
            f"{where}.damaged = {name!r} is not another one of the datasets.{nearest(name, others)}"
        )
        return
    for key in ("channels", "image_size"):
        if getattr(damaged, key) != getattr(clean, key):
            yield (
                f"{where}.damaged: datasets.{name}.{key} = {getattr(damaged, key)} must be that of "
                f"the clean pictures, datasets.{model.dataset}.{key} = {getattr(clean, key)}."
            )
    yield from _extractor_errors(
        f"{where}.damaged: what is made of pictures without originals", model, params
    )
    gate, measured = params.promotion.translation, distances(params.evaluation.extractor)
    if unmeasured := [metric for metric in (gate.metric, *gate.floors) if metric not in measured]:
        yield (
            f"{where}.damaged: without originals there is no {', '.join(unmeasured)}, which "
            "promotion.translation asks for. Use "
            f"{' or '.join(measured[:2]) or 'evaluation.features'} there."
        )


def _augment_errors(where: str, model: Model, dataset: Dataset) -> Iterator[str]:
    augment, (name, side) = model.training.augment, _smallest(_trained_sides(model, dataset))
    for key, pixels in (("crop", augment.crop), ("cutout", augment.cutout)):
        if pixels >= side:
            yield f"{where}.training.augment.{key} = {pixels} must be smaller than {name} = {side}."
    if isinstance(model, GanModel):
        # What is always done to real images is learnt as theirs: Karras et al. 2020,
        # arXiv:2006.06676, section 2.2.
        for key in [name for name in Augment.model_fields if name != "flip"]:
            if getattr(augment, key):
                yield (
                    f"{where}.training.augment.{key}: a GAN learns to draw what it is shown, so "
                    "its images would be changed alike. Remove it; a GAN can only flip."
                )


def _degradation_errors(
    where: str, model: RestorationModel | TranslationModel, dataset: Dataset, max_side: int
) -> Iterator[str]:
    trained = _trained_sides(model, dataset)
    scored = {
        f"datasets.{model.dataset}.min_size": dataset.shortest_side,
        "evaluation.max_side": max_side,
    }
    name, side = _smallest(trained if dataset.image_size else trained | scored)
    steps = model.degradation or ()
    for position, step in enumerate(steps):
        here = f"{where}.degradation.{position}"
        if step.mask is not None and largest(step.mask.size) >= side:
            yield (
                f"{here}.mask.size = {_as_in_file(step.mask.size)} must be smaller than {name} = "
                f"{side}."
            )
        if step.strokes is not None and largest(step.strokes.width) >= side:
            yield (
                f"{here}.strokes.width = {_as_in_file(step.strokes.width)} must be smaller than "
                f"{name} = {side}."
            )
        if step.decolourise is not None and dataset.channels == 1:
            yield (
                f"{here}: decolourise changes nothing, because datasets.{model.dataset}.channels = "
                "1. Remove it."
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


def _trained_sides(model: Model, dataset: Dataset) -> dict[str, int]:
    """Sides of the squares that a model learns from, and of images of one size, by their keys."""
    sides = {
        f"datasets.{model.dataset}.image_size": dataset.image_size,
        "training.crop_size": model.training.crop_size,
    }
    return {key: pixels for key, pixels in sides.items() if pixels is not None}


def _smallest(sides: Mapping[str, int]) -> tuple[str, int]:
    return min(sides.items(), key=lambda item: item[1])


def _gate_errors(params: Params) -> Iterator[str]:
    asked, num_features = params.evaluation, NUM_FEATURES.get(params.evaluation.extractor, 0)
    kinds = {model.kind for model in params.models.values()}
    for kind, gate in params.promotion:
        if not isinstance(gate, Gate):  # approval, alpha
            continue
        measured = metrics(kind, asked.extractor)
        elsewhere = {
            metric
            for extractor in ("classifier", *NUM_FEATURES)
            for metric in metrics(kind, extractor)
        }
        for key, metric in [
            ("metric", gate.metric),
            *((f"floors.{name}", name) for name in gate.floors),
        ]:
            where = f"promotion.{kind}.{key}: {metric!r}"
            if metric not in elsewhere:
                yield f"{where} is not measured there.{nearest(metric, measured)}"
            elif (
                metric not in measured and kind in kinds
            ):  # a gate that nothing comes to may be the default
                features = (
                    f"with evaluation.features = {asked.features}"
                    if asked.features
                    else "without an extractor"
                )
                yield f"{where} is not measured {features}. Measured are: {', '.join(measured)}."
            elif metric in distances(asked.extractor)[:1] and asked.num_images <= num_features:
                yield (
                    f"{where} needs more images than {asked.features} has features, "
                    f"{num_features}, but evaluation.num_images = {asked.num_images}. Raise it, or "
                    f"use {measured[1]}."
                )
