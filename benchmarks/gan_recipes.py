"""The GANs that the benchmarks compare.

Networks and losses, each with what it needs, as plain data.

Widths are chosen so that no network takes more than about twice the time of `dcgan` for a step on a
CPU.
"""

from __future__ import annotations

import json
from typing import Any

from atelier.params import GanModel

# Generator and discriminator.
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dcgan": ({"name": "dcgan", "width": 32, "latent_dim": 64}, {"name": "dcgan", "width": 32}),
    "mixed": ({"name": "resnet", "width": 32, "latent_dim": 64}, {"name": "dcgan", "width": 32}),
    "resnet": ({"name": "resnet", "width": 24, "latent_dim": 64}, {"name": "resnet", "width": 24}),
    "r3": (
        {"name": "r3", "width": 24, "latent_dim": 64, "blocks": 1},
        {"name": "r3", "width": 24, "blocks": 1},
    ),
    # For images of 16, 32, 64, ... pixels.
    "progressive": (
        {"name": "progressive", "width": 24, "latent_dim": 64, "growth": 0.4},
        {"name": "progressive", "width": 24},
    ),
}
LAZY = {"penalty_every": 4}
# The first is the plain GAN of 2014 by the recipe of DCGAN (arXiv:1511.06434, section 4): nothing
# stabilises it. The second is that of params.yaml.
LOSSES: dict[str, dict[str, Any]] = {
    "minimax": {"lr": 2e-4, "betas": [0.5, 0.999]},
    "non-saturating": {"lr": 1.4e-3, "betas": [0.0, 0.99], "r1_gamma": 2.0, **LAZY},
    "least-squares": {"lr": 1.4e-3, "betas": [0.0, 0.99], "r1_gamma": 1.0, **LAZY},
    "hinge": {"lr": 1.4e-3, "betas": [0.0, 0.99], "r1_gamma": 1.0, **LAZY},
    "wasserstein": {
        "lr": 1.4e-3,
        "betas": [0.0, 0.9],
        "gp_weight": 10.0,
    },  # arXiv:1704.00028: betas and weight
    "relativistic": {
        "lr": 1.4e-3,
        "betas": [0.0, 0.99],
        "r1_gamma": 1.0,
        "r2_gamma": 1.0,
        **LAZY,
    },
}
# What is written over the above. Spectral normalisation bounds the discriminator of `resnet`: no
# penalty, and the rates of BigGAN (arXiv:1809.11096, section 3) and SNGAN (arXiv:1802.05957) are
# for such networks.
CHANGES: dict[tuple[str, str], dict[str, Any]] = {
    **{
        ("resnet", loss): {
            "lr": 4e-4,
            "betas": [0.0, 0.99],
            "r1_gamma": 0.0,
            "r2_gamma": 0.0,
            "gp_weight": 0.0,
            "penalty_every": 1,
        }
        for loss in ("non-saturating", "least-squares", "hinge", "wasserstein")
    },
}
# ADA with the changes of DiffAugment.
AUGMENT = {
    "flip": True,
    "translation": 0.125,
    "cutout": 0.5,
    "colour": True,
    "probability": "adaptive",
}
TRAINING = {
    "batch_size": 64,
    "warmup_kimg": 5,
    "ema_halflife_kimg": 10,
    "checkpoint_every_kimg": 20,
}


def gan_model(
    dataset: str, network: str, loss: str, minutes: float, augment: bool = False
) -> GanModel:
    """The parameters of one GAN, as they would stand in params.yaml.

    Args:
        dataset: its name.
        network: one of `NETWORKS`.
        loss: one of `LOSSES`.
        minutes: of CPU time.
        augment: whether what the discriminator sees is augmented.
    """
    generator, discriminator = NETWORKS[network]
    chosen = {"r1_gamma": 0.0, "r2_gamma": 0.0, **LOSSES[loss], **CHANGES.get((network, loss), {})}
    own = {key: chosen.pop(key) for key in ("lr", "betas")}
    raw: dict[str, Any] = {
        "kind": "gan",
        "dataset": dataset,
        "generator": generator,
        "discriminator": discriminator,
        "loss": loss,
        **chosen,
        "training": {**TRAINING, **own, "minutes": minutes},
    }
    if augment:
        raw["discriminator_augment"] = AUGMENT
    return GanModel.model_validate_json(json.dumps(raw))
