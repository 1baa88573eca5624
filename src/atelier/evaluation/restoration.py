"""Score a restorer in one pass over the test images, which may differ in size.

Of the pixels only numbers are kept.

Shapes: N test images, n of them of one size, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atelier.data.store import StoredDataset
from atelier.degradations import Steps, noise_levels
from atelier.degradations.levels import levels_of
from atelier.evaluation.common import (
    Evaluated,
    Protocol,
    class_scores,
    predicted_classes,
    require_test_images,
    row,
)
from atelier.evaluation.degraded import degraded_images
from atelier.evaluation.slices import denoiser_rows, slice_rows
from atelier.metrics.baselines import baselines_for
from atelier.metrics.intervals import Score, mean_interval
from atelier.metrics.lpips import load_lpips
from atelier.metrics.pixels import PixelProtocol, fidelity_N, psnr_N, restoration_scores
from atelier.pictures import Floats, Pixels, grid
from atelier.training.cost import count_macs

NUM_SHOWN = 10  # images in the picture for people
SHOWN_SIDE = 96  # pixels: of images that keep their own size the centre is shown


@dataclass(frozen=True)
class Restored:
    """Some neighbouring test images of one size, and what was made of them.

    Float32 nCHW in [0, 1].
    """

    first: int  # position of the first of them in the test split
    clean: Floats
    levels: list[int]  # in which part of its range each is degraded; empty if there is no range
    guesses: dict[str, Floats]  # of each baseline, and of the model that this one is compared with
    estimates: list[
        Floats
    ]  # of the model, after each of its iterations if it is recurrent; the last is its result


@dataclass(frozen=True)
class Measured:
    """What is kept of `Restored`."""

    fidelity: dict[str, dict[str, NDArray[np.float64]]]  # by metric, of the model and each baseline
    levels: list[int]
    psnr_by_iteration: list[NDArray[np.float64]]
    predicted: dict[
        str, NDArray[np.int64]
    ]  # the classifier's class of clean, degraded and restored images
    shown: dict[str, Floats]  # centres of the first images: clean, restored, and each baseline's


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
    passes = _restored(network, compared or {}, steps, dataset, protocol)
    parts = [_measured(part, classifier, dataset, protocol, pixels) for part in passes]
    confidence = protocol.params.confidence
    scored = (
        ""
        if dataset.info.image_size
        else f", of images larger than {protocol.params.max_side} pixels the centre"
    )
    values = {
        subject: {
            metric: np.concatenate([part.fidelity[subject][metric] for part in parts])
            for metric in measured
        }
        for subject, measured in parts[0].fidelity.items()
    }
    named = {
        subject: restoration_scores(found, confidence, pixels, scored)
        for subject, found in values.items()
    }
    rows = [
        row(subject, "all", metric, score)
        for subject, found in named.items()
        for metric, score in found.items()
    ]
    if hasattr(network, "iterations"):
        rows += _iteration_rows([part.psnr_by_iteration for part in parts], confidence, pixels)
        rows += _compute_rows(network, dataset.info.channels, protocol.device)
    best = _best_baseline(values)
    others = {"psnr_gain": _difference(values, best, confidence, pixels)}
    if compared:
        others["psnr_difference"] = _difference(
            values, f"compared:{next(iter(compared))}", confidence, pixels
        )
    if parts[0].predicted:
        views = {
            view: np.concatenate([part.predicted[view] for part in parts])
            for view in parts[0].predicted
        }
        others |= _seen_by_classifier(views, dataset, protocol)
    rows += [row("model", "all", metric, score) for metric, score in others.items()]

    units, slices = _units(values["model"], named["model"], parts, steps, dataset)
    rows += slice_rows(units, slices, confidence, pixels, scored)
    rows += denoiser_rows(values["model"], dataset, steps, protocol, pixels, scored)
    picture = _picture(
        [part.shown for part in parts if part.shown], ("clean", "baseline:identity", best, "model")
    )
    return Evaluated(named["model"] | others, pd.DataFrame(rows), {"restored.png": picture}, units)


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


def _restored(
    network: Any,
    compared: Mapping[str, Any],
    steps: Steps,
    dataset: StoredDataset,
    protocol: Protocol,
) -> Iterator[Restored]:
    """All test images that are scored, a few at a time, degraded and restored."""
    baselines, levels = baselines_for(steps), levels_of(steps)
    for part in degraded_images(dataset, steps, protocol):
        guesses = {
            f"baseline:{name}": guess(part.y_nChw, part.hidden_n1hw).numpy()
            for name, guess in baselines.items()
        }
        told = partial(noise_levels, part.clean_nCHW.shape, steps, part.seeds)
        y_nChw = part.y_nChw.to(protocol.device)
        guesses |= {
            f"compared:{version}": _estimates(other, y_nChw, told)[-1]
            for version, other in compared.items()
        }
        parts_n = (
            levels.parts_B(part.clean_nCHW.shape, steps, part.seeds).tolist() if levels else []
        )
        yield Restored(
            part.first, part.clean_nCHW.numpy(), parts_n, guesses, _estimates(network, y_nChw, told)
        )


@torch.inference_mode()
def _estimates(network: Any, y_nCHW: Tensor, levels: Callable[[], Tensor]) -> list[Floats]:
    """What a restorer makes of images, after each of its iterations if it is recurrent."""
    told = {}
    if getattr(network, "noise_level", False):  # versions of before have no such input
        told = {"sigma": levels().to(y_nCHW.device)}
    estimates = (
        network.estimates(y_nCHW, **told)
        if hasattr(network, "iterations")
        else [network(y_nCHW, **told)]
    )
    return [x_hat_nCHW.cpu().numpy().clip(0, 1) for x_hat_nCHW in estimates]


def _measured(
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
    views: Mapping[str, NDArray[np.int64]], dataset: StoredDataset, protocol: Protocol
) -> dict[str, Score]:
    """Accuracy, recall and F1 on clean, degraded and restored images, and the gain in accuracy."""
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


def _picture(parts: Sequence[Mapping[str, Floats]], names: Sequence[str]) -> Pixels:
    """The first images, one line a name, all cut to the smallest of them."""
    height, width = np.min([part["clean"].shape[-2:] for part in parts], axis=0)
    lines = [
        np.concatenate([_centre(part[name], height, width) for part in parts]) for name in names
    ]
    return grid(np.concatenate(lines), columns=len(lines[0]))


def _centre(x_NCHW: Floats, height: int, width: int) -> Floats:
    """The central pixels; the whole image where it is smaller."""
    top, left = (
        max(0, (have - want) // 2)
        for have, want in zip(x_NCHW.shape[-2:], (height, width), strict=True)
    )
    return x_NCHW[..., top : top + height, left : left + width]
