"""Rows of the table that are about some of the test images.

A class, a level of the degradation, the first few.

Shapes: N test images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from atelier.data.store import StoredDataset
from atelier.degradations import Steps
from atelier.evaluation.common import Protocol, row, rows_of
from atelier.evaluation.degraded import degraded_images
from atelier.metrics.denoisers import Denoiser, denoisers_for, estimated_sigma, known_sigma
from atelier.metrics.intervals import mean_interval
from atelier.metrics.pixel_protocol import PixelProtocol
from atelier.metrics.pixels import Values, fidelity_N, restoration_scores

SLICED = (
    "psnr",
    "ssim",
)  # metrics of a slice; the others are in `Evaluated.units`, by which all can be computed


def slice_rows(
    units: pd.DataFrame,
    slices: Mapping[str, Sequence[str]],
    confidence: float,
    pixels: PixelProtocol,
    scored: str,
) -> list[dict[str, Any]]:
    """The model's scores by class and by level.

    Args:
        units: `Evaluated.units`, with the columns that `slices` names.
        slices: column -> its values, in the order of the rows.
        confidence: coverage of the intervals, in (0, 1).
        pixels: how images were compared.
        scored: which part of each image was measured, for the protocol.

    Returns:
        Rows of the slices `COLUMN:VALUE`; none for a slice of fewer than two images, which has no
        interval.
    """
    rows = []
    for column, names in slices.items():
        for name in names:
            inside = units[units[column] == name]
            if len(inside) < 2:
                continue
            values = {metric: inside[metric].to_numpy(np.float64) for metric in SLICED}
            found = restoration_scores(values, confidence, pixels, scored)
            rows += [
                row("model", f"{column}:{name}", metric, score) for metric, score in found.items()
            ]
    return rows


def denoiser_rows(
    model: Mapping[str, Values],
    dataset: StoredDataset,
    steps: Steps,
    protocol: Protocol,
    pixels: PixelProtocol,
    scored: str,
) -> list[dict[str, Any]]:
    """What the denoisers of other packages, and the model, reach on the first test images.

    Args:
        model: `fidelity_N` of the model on all test images.
        dataset: whose test split is used.
        steps: the degradation; none of them fits one that does more than to add noise.
        protocol: how to score.
        pixels: how images are compared.
        scored: which part of each image is measured, for the protocol.

    Returns:
        Rows of the slice `first:NUMBER`: baseline, model, and the model's `psnr_gain_NAME` over the
        same images.
    """
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    confidence = protocol.params.confidence
    sigma = known_sigma(steps)
    told = "told the noise that it estimates in each image"
    if sigma is not None:
        told = f"told sigma {sigma:g}"
    for name, denoiser in denoisers_for(steps).items():
        values = _denoised(denoiser, dataset, steps, protocol, pixels)
        if values is None:
            continue
        count = len(values["psnr"])
        own = {metric: values_N[:count] for metric, values_N in model.items()}
        first = f", the first {count} test images"
        how = f"{denoiser.text}, {told}"
        text = f"paired difference to {name} ({how}), dB{first}: {pixels.texts['psnr']}"
        gain = mean_interval(own["psnr"] - values["psnr"], confidence, text)
        own_scores = restoration_scores(own, confidence, pixels, scored + first)
        their_scores = restoration_scores(values, confidence, pixels, f"{scored}{first}, {how}")
        subjects = {
            f"baseline:{name}": their_scores,
            "model": {**own_scores, f"psnr_gain_{name}": gain},
        }
        for line in rows_of(subjects, f"first:{count}"):
            rows[line["subject"], line["slice"], line["metric"]] = line
    return list(rows.values())


def _denoised(
    denoiser: Denoiser,
    dataset: StoredDataset,
    steps: Steps,
    protocol: Protocol,
    pixels: PixelProtocol,
) -> dict[str, Values] | None:
    """`fidelity_N` of the first test images; None if one of them is too small."""
    parts, sigma = [], known_sigma(steps)
    for part in degraded_images(dataset, steps, protocol, denoiser.num_images):
        if min(part.y_nChw.shape[-2:]) < denoiser.smallest:
            return None
        x_hat = []
        for y_HWC in part.y_nChw.permute(0, 2, 3, 1).double().numpy():
            restored_HWC = denoiser.restore(
                y_HWC, estimated_sigma(y_HWC) if sigma is None else sigma
            )
            x_hat.append(restored_HWC.transpose(2, 0, 1))
        parts.append(fidelity_N(np.stack(x_hat), part.clean_nCHW.numpy(), pixels))
    return {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}
