"""Losses of the first twenty steps of each loop, on images that need no data.

See test_golden.py.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from atelier.data.store import DatasetInfo
from atelier.training.datasets import ArrayImages
from tests.support.tiny import (
    BATCH,
    CRNN,
    HALF,
    MASK,
    NAFNET,
    NOISE,
    PATCH,
    PROGRESSIVE_GAN,
    R3_GAN,
    RESNET_GAN,
    RESNET_SR,
    UNET,
    tiny_model,
    train,
)

GOLDEN = Path(__file__).with_name("losses.json")
NUM_STEPS = 20
TRAINING = {
    "kimg": NUM_STEPS * BATCH / 1000,
    "sample_every_kimg": 9.0,
    "checkpoint_every_kimg": 9.0,
}
CASES = {
    "classification": ("classifier", {}),
    "gan, minimax": ("gan", {"loss": "minimax"}),
    "gan, non-saturating": ("gan", {"loss": "non-saturating"}),
    "gan, relativistic": ("gan", {"loss": "relativistic"}),
    "gan, least-squares": ("gan", {"loss": "least-squares"}),
    "gan, hinge": ("gan", {"loss": "hinge"}),
    "gan, wasserstein": (
        "gan",
        {"loss": "wasserstein", "r1_gamma": 0.0, "r2_gamma": 0.0, "gp_weight": 10.0},
    ),
    "gan, resnet, hinge": (
        "gan",
        {**RESNET_GAN, "loss": "hinge", "r1_gamma": 0.0, "r2_gamma": 0.0},
    ),
    "gan, r3, relativistic": ("gan", R3_GAN),
    "gan, progressive, non-saturating": ("gan", {**PROGRESSIVE_GAN, "loss": "non-saturating"}),
    "restoration, cnn": ("cnn", {"degradation": [MASK, NOISE, HALF]}),
    "restoration, crnn": ("crnn", {"degradation": [NOISE]}),
    "restoration, crnn, lstm": (
        "crnn",
        {"degradation": [NOISE], "network": {**CRNN, "cell": "lstm"}},
    ),
    "restoration, unet": ("cnn", {"network": UNET}),
    "restoration, nafnet": ("cnn", {"network": NAFNET}),
    "restoration, resnet_sr": ("cnn", {"degradation": [HALF], "network": RESNET_SR}),
    "restoration, cnn, adversarial": ("cnn", {"degradation": [HALF], "adversarial": PATCH}),
    "translation": ("translation", {}),
}


def blobs(border=0):
    """Sixty images of four classes.

    A bright disc on a dark ramp, its corner by class, the rest from a fixed seed.

    They have 28 pixels a side, and a border where a network needs more.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    labels_N = np.arange(60) % 4
    y_11H1, x_111W = np.arange(28)[None, :, None], np.arange(28)[None, None, :]
    top_N11, left_N11 = (
        7 + 13 * part[:, None, None] + rng.integers(-3, 4, (60, 1, 1))
        for part in divmod(labels_N, 2)
    )
    radius_N11 = rng.integers(3, 7, (60, 1, 1))
    inside_NHW = (y_11H1 - top_N11) ** 2 + (x_111W - left_N11) ** 2 < radius_N11**2
    pixels_NHW = np.where(inside_NHW, 255 - 5 * radius_N11, 3 * x_111W + 0 * y_11H1).astype(
        np.uint8
    )
    pixels_NHW = np.pad(pixels_NHW, ((0, 0), (border, border), (border, border)), mode="edge")
    return ArrayImages(
        DatasetInfo(28 + 2 * border, 1, 4, tuple("abcd"), {}), pixels_NHW[..., None], labels_N
    )


def losses(case):
    """{name of the loss: its value at each step} of one of CASES, on one CPU thread."""
    name, changes = CASES[case]
    curves = {}

    def on_log(images_seen, values):
        for key in values.keys() & {"loss", "d_loss", "g_loss", "d_clean", "d_damaged"}:
            curves.setdefault(key, []).append(values[key])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            images = blobs(border=2 if "progressive" in case else 0)
            train(
                tiny_model(name, training=TRAINING, **changes), images, Path(folder), on_log=on_log
            )
    finally:
        torch.set_num_threads(threads)
    return dict(sorted(curves.items()))


if __name__ == "__main__":
    golden = {
        case: {key: [float(f"{x:.6g}") for x in curve] for key, curve in losses(case).items()}
        for case in CASES
    }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
