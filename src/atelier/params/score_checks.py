"""Scores that these images can't have, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.params.models import Params, RestorationModel, TranslationModel

# Of SSIM's window, and of the image whose sixteenth holds it (MS-SSIM): atelier.metrics.structure, compared by a test.
SSIM_SIDE, MS_SSIM_SIDE = 11, 161


def score_errors(params: Params) -> Iterator[str]:
    """One line for each impossible combination of `evaluation`, `promotion` and the sizes of test images."""
    border = params.evaluation.pixels.border
    for name, model in params.models.items():
        dataset = params.datasets.get(model.dataset)
        if dataset is None or not isinstance(model, RestorationModel | TranslationModel) or model.degradation is None:
            continue
        side = dataset.image_size or min(dataset.shortest_side, params.evaluation.max_side)
        if side - 2 * border < SSIM_SIDE:
            yield (
                f"evaluation.pixels.border = {border} leaves {max(0, side - 2 * border)} pixels of test images of "
                f"datasets.{model.dataset} ({side} pixels), SSIM needs {SSIM_SIDE}. Lower it to "
                f"{(side - SSIM_SIDE) // 2} or less."
            )
        gate = getattr(params.promotion, model.kind)
        if "ms_ssim" in (gate.metric, *gate.floors) and dataset.image_size and side - 2 * border < MS_SSIM_SIDE:
            yield (
                f"promotion.{model.kind}: ms_ssim can't be measured on models.{name}, because its test images have "
                f"{side - 2 * border} pixels without the border, and five scales need {MS_SSIM_SIDE}. Use ssim."
            )
    for kind in ("restoration", "translation"):
        gate = getattr(params.promotion, kind)
        if "lpips" in (gate.metric, *gate.floors) and params.evaluation.lpips is None:
            yield (
                f"promotion.{kind}: lpips is measured only with weights. Give evaluation.lpips a path and its sha256, "
                "or use another metric."
            )
