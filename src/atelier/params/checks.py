"""Combinations of parameters that can't work, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.params.content_checks import content_errors
from atelier.params.errors import nearest
from atelier.params.extractors import InceptionFile
from atelier.params.gate_checks import gate_errors
from atelier.params.measures import distances
from atelier.params.models import (
    ClassificationModel,
    GanModel,
    Model,
    Params,
    TranslationModel,
)
from atelier.params.reference_checks import reference_errors, schedule_errors
from atelier.params.score_checks import score_errors
from atelier.params.size_checks import size_errors


def combination_errors(params: Params) -> list[str]:
    """One line for each impossible combination, with its dotted path and what to do."""
    of_models = [*_evaluation_errors(params), *_model_errors(params), *reference_errors(params)]
    return [*of_models, *gate_errors(params), *score_errors(params), *schedule_errors(params)]


def _evaluation_errors(params: Params) -> Iterator[str]:
    evaluation = params.evaluation
    name = evaluation.classifier
    if name and not isinstance(params.models.get(name), ClassificationModel):
        classifiers = [
            key for key, model in params.models.items() if isinstance(model, ClassificationModel)
        ]
        hint = nearest(name, classifiers)
        yield f"evaluation.features: {name!r} is not a classification model of this file.{hint}"
    for key, extractor, is_given in (
        ("efficientnet_side", "efficientnet", evaluation.efficientnet_side != 224),
        ("inception", "inception", evaluation.inception != InceptionFile()),
    ):
        if is_given and evaluation.extractor != extractor:
            yield (
                f"evaluation.{key}: evaluation.features names another extractor, "
                "so it has no effect. Remove it."
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
        problems = list(size_errors(where, model, dataset))
        yield from problems or content_errors(where, model, dataset, params.evaluation.max_side)
        if isinstance(model, GanModel):
            yield from _extractor_errors(f"{where}: a GAN", model, params)


def _extractor_errors(what: str, model: Model, params: Params) -> Iterator[str]:
    """Of a model that nothing but features can score."""
    if params.evaluation.published_weights:
        return
    extractor = params.models.get(params.evaluation.classifier)
    if params.evaluation.features is None:
        problem = "isn't given"
    elif extractor is None:  # a name that is unknown is an error of its own
        return
    elif extractor.dataset == model.dataset:
        return
    else:
        problem = f"learns {extractor.dataset!r}, not {model.dataset!r}"
    yield (
        f"{what} is scored on the features of evaluation.features, which {problem}. "
        f"Train a classifier on {model.dataset!r} and name it there, "
        "or write efficientnet_lite0 or inception."
    )


def _pair_errors(where: str, model: Model) -> Iterator[str]:
    if isinstance(model, GanModel):
        generator = model.generator.name
        discriminator = model.discriminator.name
        if (generator == "progressive") != (discriminator == "progressive"):
            yield (
                f"{where}: the generator {generator!r} and the discriminator {discriminator!r} "
                "can't grow together. Name 'progressive' in both, or in neither."
            )


def _damaged_errors(
    where: str, model: TranslationModel, name: str, params: Params
) -> Iterator[str]:
    """Damaged pictures without originals are scored on features, as a GAN's images are."""
    clean = params.datasets[model.dataset]
    damaged = params.datasets.get(name)
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
    what = f"{where}.damaged: what is made of pictures without originals"
    yield from _extractor_errors(what, model, params)
    gate = params.promotion.translation
    measurable = distances(params.evaluation.extractor)
    absent = [metric for metric in (gate.metric, *gate.floors) if metric not in measurable]
    if absent:
        remedy = " or ".join(measurable[:2]) or "evaluation.features"
        yield (
            f"{where}.damaged: without originals there is no {', '.join(absent)}, which "
            f"promotion.translation asks for. Use {remedy} there."
        )
