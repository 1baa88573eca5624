"""Combinations of parameters that can't work, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.params import ClassificationModel, Dataset, GanModel, Model, Params, RestorationModel
from atelier.params_errors import nearest

# What an evaluation of each kind measures; a test compares it with what evaluations return.
_VIEWS = ("clean", "degraded", "restored")
_SEEN = [f"{metric}_{view}" for metric in ("accuracy", "macro_recall", "macro_f1") for view in _VIEWS]
METRICS = {
    "classification": ["accuracy", "macro_recall", "macro_f1"],
    "gan": [
        *(f"{metric}_classifier" for metric in ("fd", "kid", "is", "precision", "recall")),
        *("class_balance", "rarest_class", "class_accuracy", "cas"),
    ],
    "restoration": ["mse", "psnr", "ssim", "psnr_gain", *_SEEN, "accuracy_gain"],
}


def combination_errors(params: Params) -> list[str]:
    """One line for each impossible combination, with its dotted path and what to do."""
    return [*_evaluation_errors(params), *_model_errors(params), *_gate_errors(params)]


def _evaluation_errors(params: Params) -> Iterator[str]:
    name = params.evaluation.classifier
    if not isinstance(params.models.get(name), ClassificationModel):
        classifiers = [key for key, model in params.models.items() if isinstance(model, ClassificationModel)]
        yield f"evaluation.features: {name!r} is not a classification model of this file.{nearest(name, classifiers)}"


def _model_errors(params: Params) -> Iterator[str]:
    extractor = params.models.get(params.evaluation.classifier)
    for name, model in params.models.items():
        where = f"models.{name}"
        dataset = params.datasets.get(model.dataset)
        if dataset is None:
            hint = nearest(model.dataset, list(params.datasets))
            yield f"{where}.dataset = {model.dataset!r} is not one of the datasets.{hint}"
            continue
        yield from _shape_errors(where, model, dataset)
        if isinstance(model, GanModel) and extractor is not None and extractor.dataset != model.dataset:
            yield (
                f"{where}: a GAN is scored on the features of evaluation.features, which learns {extractor.dataset!r}, "
                f"not {model.dataset!r}. Train a classifier on {model.dataset!r} and name it there."
            )


def _shape_errors(where: str, model: Model, dataset: Dataset) -> Iterator[str]:
    if isinstance(model, GanModel) and dataset.image_size % 4:
        yield (
            f"{where}: the generator doubles its resolution twice, so datasets.{model.dataset}.image_size "
            f"= {dataset.image_size} must be a multiple of 4."
        )
    if isinstance(model, RestorationModel):
        for position, step in enumerate(model.degradation):
            if step.mask is not None and step.mask.size >= dataset.image_size:
                yield (
                    f"{where}.degradation.{position}.mask.size = {step.mask.size} must be smaller than the images "
                    f"({dataset.image_size} pixels)."
                )
            if step.downsample is not None and position != len(model.degradation) - 1:
                yield f"{where}.degradation.{position}: downsample must be the last step. Move it to the end."
            if step.downsample is not None and dataset.image_size % step.downsample.factor:
                yield (
                    f"{where}.degradation.{position}.downsample.factor = {step.downsample.factor} must divide "
                    f"image_size = {dataset.image_size}."
                )


def _gate_errors(params: Params) -> Iterator[str]:
    for kind in type(params.promotion).model_fields:
        gate = getattr(params.promotion, kind)
        for key, metric in [("metric", gate.metric), *((f"floors.{name}", name) for name in gate.floors)]:
            if metric not in METRICS[kind]:
                yield f"promotion.{kind}.{key}: {metric!r} is not measured there.{nearest(metric, METRICS[kind])}"
