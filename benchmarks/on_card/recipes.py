"""Every network and loss as the parameters of a training, tiny for a CPU and larger for a card."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from atelier.losses import GAN_LOSSES
from atelier.networks.generators import GENERATORS
from atelier.params import Model

ADAPTER: TypeAdapter[Any] = TypeAdapter(Model)
QUICK_BATCH = 16
BATCH = 32
# Of the discriminator's game: what keeps its slopes finite, as in benchmarks/gan_recipes.py.
PENALTIES: dict[str, dict[str, float]] = {
    "minimax": {},
    "non-saturating": {"r1_gamma": 2.0},
    "least-squares": {"r1_gamma": 1.0},
    "hinge": {"r1_gamma": 1.0},
    "wasserstein": {"gp_weight": 10.0},
    "relativistic": {"r1_gamma": 1.0, "r2_gamma": 1.0},
}
ADAPTIVE = {"colour": True, "cutout": 0.5, "probability": "adaptive", "adapt_kimg": 2.0}
NOISE = {"noise": {"sigma": 0.2}}


def build(recipe: dict[str, Any], quick: bool, **training: Any) -> Any:
    """The model of a recipe with the training that all of them share.

    Args:
        recipe: all keys but `dataset` and `training`.
        quick: a small batch.
        training: written over that of all.
    """
    rhythm = {
        "batch_size": QUICK_BATCH if quick else BATCH,
        "lr": 2e-3,
        "ema_halflife_kimg": 0.1,
        "augment": {"flip": True},
        **training,
    }
    if recipe["kind"] == "gan":
        rhythm = {"betas": [0.0, 0.99], **rhythm, "lr": training.get("lr", 1e-3)}
    given = {"dataset": "made", **recipe, "training": rhythm}
    return ADAPTER.validate_json(json.dumps(given))


def step_budget(steps: int, quick: bool) -> dict[str, Any]:
    """A training of so many steps, each of them logged, with one sampling and few checkpoints."""
    batch = (QUICK_BATCH if quick else BATCH) / 1000
    return {
        "kimg": steps * batch,
        "log_every_kimg": batch,
        "sample_every_kimg": 1000 * batch,
        "checkpoint_every_kimg": 1000 * batch,
    }


def gan(network: str, loss: str, quick: bool, **more: Any) -> dict[str, Any]:
    """A GAN of the networks of one name."""
    width = 8 if quick else 32
    shape: dict[str, Any] = {"name": network, "width": width}
    if network == "r3":
        shape["blocks"] = 1
    if network == "resnet":
        shape["attention"] = True
    generator = {**shape, "latent_dim": 16 if quick else 64}
    if network == "progressive":
        generator["growth"] = 0.05  # a loss of a larger picture is another loss
    penalties = {"r1_gamma": 0.0, "r2_gamma": 0.0, **PENALTIES[loss]}
    return {
        "kind": "gan",
        "generator": generator,
        "discriminator": shape,
        "loss": loss,
        **penalties,
        **more,
    }


def restorer(network: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A restorer of noise, unless told otherwise."""
    return {
        "kind": "restoration",
        "degradation": [NOISE],
        "network": network,
        "loss": "l2",
        **more,
    }


def restorer_networks(quick: bool) -> dict[str, dict[str, Any]]:
    """One of each."""
    width = 8 if quick else 32
    blocks = {"levels": 2, "blocks": 1 if quick else 2}
    return {
        "cnn": {"name": "cnn", "width": width, "depth": 3 if quick else 6},
        "crnn gru": {"name": "crnn", "width": width, "iterations": 3},
        "crnn lstm": {"name": "crnn", "width": width, "iterations": 3, "cell": "lstm"},
        "unet": {"name": "unet", "width": width, **blocks},
        "nafnet": {"name": "nafnet", "width": width, **blocks},
        "resnet_sr": {"name": "resnet_sr", "width": width, "blocks": 2},
    }


def all_recipes(quick: bool) -> dict[str, tuple[dict[str, Any], int]]:
    """Recipe and size of image of every network and loss, by what it is."""
    patch = {"weight": 0.05, "width": 8 if quick else 32, "layers": 1}
    recipes: dict[str, tuple[dict[str, Any], int]] = {}
    network = {"name": "cnn", "width": 8 if quick else 24}
    recipes["classifier cnn"] = ({"kind": "classification", "network": network}, 28)
    for name in GENERATORS:
        size = 32 if name == "progressive" else 28
        recipes[f"gan {name}, non-saturating"] = (gan(name, "non-saturating", quick), size)
    for loss in sorted(GAN_LOSSES.keys() - {"non-saturating"}):
        recipes[f"gan dcgan, {loss}"] = (gan("dcgan", loss, quick), 28)
    augmented = gan("dcgan", "non-saturating", quick, discriminator_augment=ADAPTIVE)
    recipes["gan dcgan, adaptive augmentation"] = (augmented, 28)
    networks = restorer_networks(quick)
    for name, shape in networks.items():
        is_enlarger = name == "resnet_sr"
        steps = [{"downsample": {"factor": 2}}] if is_enlarger else [NOISE]
        recipes[f"restorer {name}, l2"] = (restorer(shape, degradation=steps), 28)
    for loss in ("l1", "charbonnier"):
        recipes[f"restorer cnn, {loss}"] = (restorer(networks["cnn"], loss=loss), 28)
    recipes["restorer cnn, told its noise"] = (
        restorer({**networks["cnn"], "noise_level": True}),
        28,
    )
    recipes["restorer cnn, adversarial"] = (restorer(networks["cnn"], adversarial=patch), 28)
    translation = {
        "kind": "translation",
        "degradation": [NOISE],
        "network": networks["cnn"],
        "adversarial": {**patch, "weight": 1.0},
        "identity_weight": 0.5,
        "pool_size": 20,
    }
    recipes["translation cnn"] = (translation, 28)
    return recipes
