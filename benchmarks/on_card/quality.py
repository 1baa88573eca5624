"""Part 5: what minutes on the card buy: KID and CAS of a GAN, Set12 PSNR of a denoiser.

Shapes: N real and M generated images, H height, W width.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atelier.evaluation import Protocol
from atelier.evaluation.extractors import classifier_extractor
from atelier.evaluation.generation import classification_accuracy_score
from atelier.metrics.distances import kid
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer
from atelier.params import Evaluation, GanModel, load_params
from atelier.training.checkpoint import Checkpoints
from atelier.training.datasets import TrainingImages
from atelier.training.gan import generator_config
from atelier.training.interruption import Stopped
from atelier.training.pixels import to_images
from atelier.training.restoration import restorer_config
from benchmarks.on_card.data import SplitImages, fashion, photographs, test_photographs
from benchmarks.on_card.report import MEASURED, Finding, Value, judge
from benchmarks.on_card.setting import SEED, Setting, synchronise, train, with_training
from benchmarks.protocols import denoising, psnr

ROOT = Path(__file__).parents[2]
MARKS = 4  # measurements at equal distances of time; one more before the first step
# Of the part's time; the rest is for the classifier of KID and CAS, and for the measurements.
TRAINING_SHARE = 0.35  # of each
QUICK_SECONDS = 4.0
# What is shipped, but tiny.
QUICK = {
    "params.yaml": (
        "models.fashion-classifier.network.width=8",
        "models.fashion-classifier.training.kimg=2",
        "models.fashion-classifier.training.warmup_kimg=0",
        "models.fashion-classifier.training.batch_size=16",
        "models.fashion-gan.generator.width=8",
        "models.fashion-gan.discriminator.width=8",
        "models.fashion-gan.training.batch_size=16",
    ),
    "photographs.yaml": (
        "models.denoise.network.width=8",
        "models.denoise.network.blocks=1",
        "models.denoise.training.crop_size=32",
    ),
}
CONFIDENCE = 0.95
NOISE_LEVEL = 25  # of 255


def check(setting: Setting) -> Iterator[Finding]:
    """Both trainings, measured on their way."""
    yield from _check_gan(setting)
    yield from _check_denoiser(setting)


def _seconds(setting: Setting) -> float:
    """Of each training."""
    return QUICK_SECONDS if setting.quick else TRAINING_SHARE * setting.seconds


def _stations(
    model: Any,
    dataset: TrainingImages,
    seconds: float,
    folder: Path,
    key: str,
    setting: Setting,
) -> Iterator[tuple[float, int, dict[str, Any]]]:
    """Train for so long, stopping at the marks.

    Yields:
        Minutes of training, images seen, and the weights of the average, which `key` names in a
        checkpoint. What is done with them takes none of the training's time.
    """
    model = with_training(model, kimg=None, minutes=seconds / 60)
    marks = [0.0, *(seconds * number / MARKS for number in range(1, MARKS))]
    used = 0.0
    is_done = False
    checkpoints = Checkpoints(folder, "gpu")
    while not is_done:
        is_last = not marks
        mark = marks.pop(0) if marks else 0.0
        began = time.perf_counter()
        stop = _stop_at(began + mark - used, setting)
        try:
            train(
                model, dataset, setting.device, checkpoints, setting.check_time if is_last else stop
            )
            is_done = True
        except Stopped:
            pass
        synchronise(setting.device)
        used += time.perf_counter() - began
        state = checkpoints.load()
        assert state is not None  # a stop and an end write one
        yield used / 60, int(state["images_seen"]), state[key]


def _stop_at(moment: float, setting: Setting) -> Callable[[], bool]:
    return lambda: setting.check_time() or time.perf_counter() >= moment


def _load_models(file: Path, setting: Setting) -> dict[str, Any]:
    """Those that are shipped."""
    return load_params(file, QUICK[file.name] if setting.quick else ()).models


def _check_gan(setting: Setting) -> Iterator[Finding]:
    dataset = fashion(setting)
    models = _load_models(ROOT / "params.yaml", setting)
    classifier = models["fashion-classifier"]
    model = models["fashion-gan"]
    number = 200 if setting.quick else len(dataset.images("test"))
    folder = setting.scratch / "classifier"
    trained, _ = train(classifier, dataset, setting.device, folder, setting.check_time)
    extractor = classifier_extractor(trained.network, "trained here", setting.device)
    real_ND = extractor.of(_to_floats(dataset.images("test")[:number]))
    config = generator_config(model, dataset.info)
    kids = []
    stations = _stations(
        model,
        dataset,
        _seconds(setting),
        setting.scratch / "gan",
        "G_ema",
        setting,
    )
    for minutes, images_seen, weights in stations:
        generator = build_generator(**config).to(setting.device)
        generator.load_state_dict(weights)
        x_MCHW, labels_M = draw(generator.eval(), model, number, setting.device)
        score = kid(real_ND, extractor.of(x_MCHW), CONFIDENCE, SEED)
        kids.append(score.value)
        values: dict[str, Value] = {"images": images_seen, "KID": score.value}
        values["CAS"] = _cas(x_MCHW, labels_M, classifier, dataset, setting)
        yield Finding(f"GAN on {dataset.name}, {minutes:.2f} minutes", MEASURED, values)
    reasons = [] if kids[-1] < kids[0] else ["KID is not below that of the untrained network"]
    yield judge(f"GAN on {dataset.name}", {"KID before": kids[0], "after": kids[-1]}, reasons)


def _to_floats(pixels_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    return to_images(pixels_NHWC, torch.device("cpu")).contiguous().numpy()


@torch.inference_mode()
def draw(
    generator: nn.Module, model: GanModel, number: int, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """So many images in [0, 1], all classes in turn, and their classes."""
    rng = torch.Generator().manual_seed(SEED)
    z_MZ = torch.randn(number, model.generator.latent_dim, generator=rng)
    labels_M = torch.arange(number) % 10
    parts = [
        (generator(z_BZ.to(device), labels_B.to(device)) * 0.5 + 0.5).clamp(0, 1).cpu().numpy()
        for z_BZ, labels_B in zip(z_MZ.split(500), labels_M.split(500), strict=True)
    ]
    return np.concatenate(parts), labels_M.numpy()


def _cas(
    x_MCHW: NDArray[np.float32],
    labels_M: NDArray[np.int64],
    classifier: Any,
    dataset: SplitImages,
    setting: Setting,
) -> float:
    """Accuracy on real images of a classifier of generated ones."""
    evaluation = {
        "num_images": len(x_MCHW),
        "confidence": CONFIDENCE,
        "cas_kimg": 2 if setting.quick else 50,
    }
    params = Evaluation.model_validate_json(json.dumps(evaluation))
    protocol = Protocol(params, SEED, setting.device)
    score = classification_accuracy_score(x_MCHW, labels_M, classifier, dataset, protocol)
    return score.value


def _check_denoiser(setting: Setting) -> Iterator[Finding]:
    name, dataset = photographs(setting)
    scored, pictures = test_photographs(setting)
    model = _load_models(ROOT / "examples" / "photographs.yaml", setting)["denoise"]
    config = restorer_config(model, dataset.info)
    gains = []
    before = _mean_psnr(None, pictures, setting)
    stations = _stations(
        model,
        dataset,
        _seconds(setting),
        setting.scratch / "denoiser",
        "average",
        setting,
    )
    for minutes, images_seen, weights in stations:
        network = build_restorer(**config).to(setting.device)
        network.load_state_dict(weights)
        decibels = _mean_psnr(network.eval(), pictures, setting)
        gains.append(decibels - before)
        values: dict[str, Value] = {
            "images": images_seen,
            "PSNR dB": decibels,
            "gain dB": gains[-1],
        }
        subject = f"denoiser of {name}, scored on {scored}, {minutes:.2f} minutes"
        yield Finding(subject, MEASURED, values)
    reasons = [] if gains[-1] > 0 else ["it does not better the noisy picture"]
    yield judge(f"denoiser of {name}", {"noisy dB": before, "gain dB": gains[-1]}, reasons)


@torch.inference_mode()
def _mean_psnr(
    network: nn.Module | None, pictures: list[NDArray[np.uint8]], setting: Setting
) -> float:
    """By the protocol of published tables; None: of the noisy pictures themselves."""
    task = denoising(NOISE_LEVEL)
    scores = []
    for x_HW in pictures:
        y_HW = task.degrade(x_HW)
        x_hat_HW = y_HW
        if network is not None:
            y_11HW = torch.from_numpy(y_HW[None, None]).float().to(setting.device)
            x_hat_HW = network(y_11HW)[0, 0].double().cpu().numpy()
        scores.append(psnr(np.clip(x_hat_HW, 0, 1), x_HW, task.scored))
    return float(np.mean(scores))
