"""Score a restorer in one pass over the test images, which may differ in size.

Of the pixels only numbers are kept.

Shapes: N test images, n of them of one size, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from atelier.data.store import StoredDataset
from atelier.degradations import Steps
from atelier.degradations.levels import levels_of
from atelier.evaluation.common import (
    Evaluated,
    Protocol,
    class_scores,
    predicted_classes,
    require_test_images,
    row,
    rows_of,
)
from atelier.evaluation.restoring import Restored, restore_test_images
from atelier.evaluation.slices import denoiser_rows, slice_rows
from atelier.metrics.intervals import Score, mean_interval
from atelier.metrics.lpips import load_lpips
from atelier.metrics.pixel_protocol import PixelProtocol
from atelier.metrics.pixels import fidelity_N, psnr_N, restoration_scores
from atelier.pictures import Floats, Pixels, grid
from atelier.training.cost import count_macs

NUM_SHOWN = 10  # images in the picture for people
SHOWN_SIDE = 96  # pixels: of images that keep their own size the centre is shown


@dataclass(frozen=True)
class Measured:
    """What is kept of `Restored`.

    Attributes:
        fidelity: by metric, of the model and each baseline.
        levels: as they are there.
        psnr_by_iteration: of the model.
        predicted: the classifier's class of clean, degraded and restored images.
        shown: centres of the first images: clean, restored, and each baseline's.
    """

    fidelity: dict[str, dict[str, NDArray[np.float64]]]
    levels: list[int]
    psnr_by_iteration: list[NDArray[np.float64]]
    predicted: dict[str, NDArray[np.int64]]
    shown: dict[str, Floats]


def evaluate_restorer(
    network: Any,
    steps: Steps,
    dataset: StoredDataset,
    classifier: nn.Module | None,
    protocol: Protocol,
    compared: Mapping[str, Any] | None = None,
) -> Evaluated:
    """MSE, PSNR and SSIM of the model and the baselines, and what the classifier makes of them.

    Args:
        network: the restorer; one with a noise-level input is told the level of each image.
        steps: the degradation; fixed for each test image by its content hash.
        dataset: whose test split is used. Of images that keep their own size the centre is scored,
            of `max_side` pixels at most, and of a multiple of the downsampling factor.
        classifier: of the same classes; None leaves its scores out.
        protocol: how to score.
        compared: another restorer of the same by its version, at most one: psnr_difference is the
            paired difference.
    """
    require_test_images(dataset)
    pixels = _pixel_protocol(protocol)
    passes = restore_test_images(network, compared or {}, steps, dataset, protocol)
    parts = [_measure(part, classifier, dataset, protocol, pixels) for part in passes]
    confidence = protocol.params.confidence
    scored = ""
    if dataset.info.image_size is None:
        scored = f", of images larger than {protocol.params.max_side} pixels the centre"
    values = _join_values(parts)
    named = {
        subject: restoration_scores(found, confidence, pixels, scored)
        for subject, found in values.items()
    }
    rows = rows_of(named)
    if hasattr(network, "iterations"):
        rows += _iteration_rows([part.psnr_by_iteration for part in parts], confidence, pixels)
        rows += _compute_rows(network, dataset.info.channels, protocol.device)
    best = _best_baseline(values)
    others = {"psnr_gain": _difference(values, best, confidence, pixels)}
    for version in compared or ():
        other = f"compared:{version}"
        others["psnr_difference"] = _difference(values, other, confidence, pixels)
    others |= _seen_by_classifier(parts, dataset, protocol)
    rows += rows_of({"model": others})
    units, slices = _units(values["model"], named["model"], parts, steps, dataset)
    rows += slice_rows(units, slices, confidence, pixels, scored)
    rows += denoiser_rows(values["model"], dataset, steps, protocol, pixels, scored)
    picture = _picture(parts, ("clean", "baseline:identity", best, "model"))
    return Evaluated(named["model"] | others, pd.DataFrame(rows), {"restored.png": picture}, units)


def _join_values(parts: Sequence[Measured]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Each metric of all images, by subject."""
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    for subject, measured in parts[0].fidelity.items():
        values[subject] = {
            metric: np.concatenate([part.fidelity[subject][metric] for part in parts])
            for metric in measured
        }
    return values


def _pixel_protocol(protocol: Protocol) -> PixelProtocol:
    asked, lpips = protocol.params.pixels, protocol.params.lpips
    loaded = load_lpips(Path(lpips.path), lpips.sha256, protocol.device) if lpips else None
    return PixelProtocol(asked.luma, asked.border, asked.round, lpips=loaded)


def _best_baseline(values: Mapping[str, Any]) -> str:
    baselines = [subject for subject in values if subject.startswith("baseline:")]
    return max(baselines, key=lambda subject: float(values[subject]["psnr"].mean()))


def _difference(
    values: Mapping[str, Any], other: str, confidence: float, pixels: PixelProtocol
) -> Score:
    """In PSNR, of the model to another subject, image by image."""
    difference_N, name = values["model"]["psnr"] - values[other]["psnr"], other.partition(":")[2]
    return mean_interval(
        difference_N, confidence, f"paired difference to {name}, dB: {pixels.texts['psnr']}"
    )


def _units(
    values: Mapping[str, NDArray[np.float64]],
    scores: Mapping[str, Score],
    parts: Sequence[Measured],
    steps: Steps,
    dataset: StoredDataset,
) -> tuple[pd.DataFrame, dict[str, Sequence[str]]]:
    """One line a test image, and the columns that are slices with their values."""
    hashes = dataset.hashes("test")[: len(values["psnr"])]
    units = pd.DataFrame(
        {"unit": hashes, **{metric: values[metric] for metric in values if metric in scores}}
    )
    slices: dict[str, Sequence[str]] = {}
    labels = dataset.labels("test")
    if labels is not None and dataset.info.num_classes:
        slices["class"] = dataset.info.class_names
        units["class"] = [dataset.info.class_names[label] for label in labels[: len(units)]]
    if (levels := levels_of(steps)) is not None:
        slices["level"] = levels.names
        units["level"] = [levels.names[part] for measured in parts for part in measured.levels]
    return units, slices


def _measure(
    part: Restored,
    classifier: nn.Module | None,
    dataset: StoredDataset,
    protocol: Protocol,
    pixels: PixelProtocol,
) -> Measured:
    restored = part.estimates[-1]
    subjects = {"model": restored, **part.guesses}
    views = {
        "clean": part.clean,
        "degraded": part.guesses["baseline:identity"],
        "restored": restored,
    }
    predicted, shown = {}, {}
    if classifier is not None and dataset.info.num_classes:
        predicted = {
            view: predicted_classes(classifier, x, protocol.device) for view, x in views.items()
        }
    if part.first < NUM_SHOWN:
        side = dataset.info.image_size or SHOWN_SIDE
        shown = {
            name: _centre(x[: NUM_SHOWN - part.first], side, side)
            for name, x in {"clean": part.clean, **subjects}.items()
        }
    fidelity = {
        subject: fidelity_N(x_hat, part.clean, pixels) for subject, x_hat in subjects.items()
    }
    psnr_by_iteration = [psnr_N(x_hat, part.clean, pixels) for x_hat in part.estimates]
    return Measured(fidelity, part.levels, psnr_by_iteration, predicted, shown)


def _iteration_rows(
    parts: Sequence[list[NDArray[np.float64]]], confidence: float, pixels: PixelProtocol
) -> list[dict[str, Any]]:
    """PSNR after each iteration of a recurrent restorer."""
    by_iteration = [np.concatenate(values) for values in zip(*parts, strict=True)]
    scores = [mean_interval(psnr, confidence, pixels.texts["psnr"]) for psnr in by_iteration]
    return [
        row("model", f"iterations:{count}", "psnr", score)
        for count, score in enumerate(scores, start=1)
    ]


@torch.inference_mode()
def _compute_rows(network: Any, channels: int, device: torch.device) -> list[dict[str, Any]]:
    """What each number of iterations costs for a pixel of the result."""
    y_1CHW, trained, rows = torch.rand(1, channels, 64, 64, device=device), network.iterations, []
    try:
        for count in range(1, trained + 1):
            network.iterations = count
            macs = count_macs(lambda: network(y_1CHW)) / (64 * network.upscale) ** 2
            score = Score(
                macs,
                macs,
                macs,
                1,
                "multiplications with addition, counted by torch on 64 x 64 pixels",
            )
            rows.append(row("model", f"iterations:{count}", "macs_per_pixel", score))
    finally:
        network.iterations = trained
    return rows


def _seen_by_classifier(
    parts: Sequence[Measured], dataset: StoredDataset, protocol: Protocol
) -> dict[str, Score]:
    """Accuracy, recall and F1 on clean, degraded and restored images, and the gain in accuracy.

    Nothing where no classifier looked at them.
    """
    if not parts[0].predicted:
        return {}
    views = {
        view: np.concatenate([part.predicted[view] for part in parts])
        for view in parts[0].predicted
    }
    labels = dataset.labels("test")
    assert labels is not None  # the classes of the dataset were counted before
    labels_N = labels[: protocol.params.num_images]
    scores = {
        f"{metric}_{view}": score
        for view, predicted_N in views.items()
        for metric, score in class_scores(labels_N, predicted_N, dataset, protocol).items()
    }
    hits = {
        view: (predicted_N == labels_N).astype(np.float64) for view, predicted_N in views.items()
    }
    gain_N = hits["restored"] - hits["degraded"]
    gain = mean_interval(gain_N, protocol.params.confidence, "paired, restored minus degraded")
    return {**scores, "accuracy_gain": gain}


def _picture(parts: Sequence[Measured], names: Sequence[str]) -> Pixels:
    """The first images, one line a name, all cut to the smallest of them."""
    shown = [part.shown for part in parts if part.shown]
    height, width = np.min([images["clean"].shape[-2:] for images in shown], axis=0)
    lines = []
    for name in names:
        lines.append(np.concatenate([_centre(images[name], height, width) for images in shown]))
    return grid(np.concatenate(lines), columns=len(lines[0]))


def _centre(x_NCHW: Floats, height: int, width: int) -> Floats:
    """The central pixels; the whole image where it is smaller."""
    top, left = (
        max(0, (have - want) // 2)
        for have, want in zip(x_NCHW.shape[-2:], (height, width), strict=True)
    )
    return x_NCHW[..., top : top + height, left : left + width]
