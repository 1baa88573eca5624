"""Scores that these images can't have, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.params.datasets import Dataset
from atelier.params.evaluation import Sampling
from atelier.params.models import GanModel, Params, RestorationModel, TranslationModel

# Of SSIM's window, and of the image whose sixteenth holds it (MS-SSIM): atelier.metrics.structure,
# compared by a test.
SSIM_SIDE = 11
MS_SSIM_SIDE = 161


def score_errors(params: Params) -> Iterator[str]:
    """One line for each impossible combination of scores, gates and the sizes of test images."""
    for name, dataset in _restored_datasets(params).items():
        yield from _border_errors(name, dataset, params)
    for name, model in params.models.items():
        if isinstance(model, GanModel) and model.sampling is not None:
            yield from _sampling_errors(f"models.{name}.sampling", model, model.sampling, params)
    for kind in ("restoration", "translation"):
        gate = getattr(params.promotion, kind)
        metrics = {gate.metric, *gate.floors}
        if "lpips" in metrics and params.evaluation.lpips is None:
            yield (
                f"promotion.{kind}: lpips is measured only with weights. "
                "Give evaluation.lpips a path and its sha256, or use another metric."
            )
        if "ms_ssim" in metrics:
            yield from _ms_ssim_errors(kind, params)


def _sampling_errors(
    where: str, model: GanModel, sampling: Sampling, params: Params
) -> Iterator[str]:
    if sampling.spread != 1 and model.generator.name == "progressive":
        yield (
            f"{where}.spread = {sampling.spread:g}: the generator 'progressive' divides latents by "
            "their length, so it has no effect. Remove it."
        )
    if sampling.confidence and not params.evaluation.classifier:
        yield (
            f"{where}.confidence = {sampling.confidence:g}: evaluation.features names nothing that "
            "tells the classes apart. Name a classifier there (classifier:MODEL), or remove it."
        )
    if sampling.confidence and model.conditional is False:
        yield (
            f"{where}.confidence = {sampling.confidence:g}: with conditional = false no class is "
            "asked for, so none can be doubted. Remove one of the two."
        )


def _border_errors(name: str, dataset: Dataset, params: Params) -> Iterator[str]:
    border = params.evaluation.pixels.border
    side = dataset.image_size or min(dataset.shortest_side, params.evaluation.max_side)
    if side - 2 * border < SSIM_SIDE:
        yield (
            f"evaluation.pixels.border = {border} leaves {max(0, side - 2 * border)} of {side} "
            f"pixels of test images of datasets.{name}, SSIM needs {SSIM_SIDE}. "
            f"Lower it to {(side - SSIM_SIDE) // 2} or less."
        )


def _ms_ssim_errors(kind: str, params: Params) -> Iterator[str]:
    border = params.evaluation.pixels.border
    for name, dataset in _restored_datasets(params, kind).items():
        # Of pictures of differing sizes some may be large enough.
        if dataset.image_size and dataset.image_size - 2 * border < MS_SSIM_SIDE:
            yield (
                f"promotion.{kind}: ms_ssim needs images of {MS_SSIM_SIDE} pixels without the "
                f"border, those of datasets.{name} have {dataset.image_size - 2 * border}. "
                "Use ssim."
            )


def _restored_datasets(params: Params, kind: str = "") -> dict[str, Dataset]:
    """The datasets whose test images are degraded and restored, by models of a kind, or of both."""
    datasets = {}
    for model in params.models.values():
        if not isinstance(model, RestorationModel | TranslationModel):
            continue
        is_known = model.dataset in params.datasets
        if is_known and model.degradation is not None and kind in ("", model.kind):
            datasets[model.dataset] = params.datasets[model.dataset]
    return datasets
