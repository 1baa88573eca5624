"""Models so small that a step takes milliseconds, with everything in them that the large ones
have."""

import json

import torch

from atelier.evaluation import Protocol
from atelier.factory.training_run import LOOPS
from atelier.params import Evaluation, Params
from atelier.training.checkpoint import Checkpoints
from atelier.training.session import Session

BATCH = 16
TRAINING = {
    "kimg": 0.192,
    "batch_size": BATCH,
    "lr": 2e-3,
    "warmup_kimg": 0.048,
    "ema_halflife_kimg": 0.1,
    "augment": {"flip": True},
}
RHYTHM = {"log_every_kimg": 0.016, "sample_every_kimg": 0.096, "checkpoint_every_kimg": 0.064}
CRNN = {"name": "crnn", "width": 4, "iterations": 3}
CNN = {"name": "cnn", "width": 8, "depth": 3}
UNET = {"name": "unet", "width": 4, "levels": 3, "blocks": 1}
NAFNET = {"name": "nafnet", "width": 4, "levels": 3, "blocks": 1}
RESNET_SR = {"name": "resnet_sr", "width": 8, "blocks": 2}
NOISE, MASK, HALF = {"noise": {"sigma": 0.2}}, {"mask": {"size": 8}}, {"downsample": {"factor": 2}}
PATCH = {"weight": 0.05, "width": 4, "layers": 1}
TRANSLATION = {
    "kind": "translation",
    "degradation": [NOISE],
    "network": CNN,
    "adversarial": {**PATCH, "weight": 1.0},
    "identity_weight": 0.5,
    "pool_size": 20,
}
RECIPES = {
    "classifier": {"kind": "classification", "network": {"name": "cnn", "width": 4}},
    "gan": {
        "kind": "gan",
        "generator": {"name": "dcgan", "width": 4, "latent_dim": 8},
        "discriminator": {"name": "dcgan", "width": 4},
        "loss": "relativistic",
        "r1_gamma": 1.0,
        "r2_gamma": 0.5,
    },
    "cnn": {"kind": "restoration", "degradation": [NOISE], "network": CNN, "loss": "l2"},
    "crnn": {"kind": "restoration", "degradation": [MASK], "network": CRNN, "loss": "charbonnier"},
    "translation": TRANSLATION,
}
# Networks of "gan" in place of its own; the loss `wasserstein` with gp_weight draws random numbers
# of its own.
RESNET = {"name": "resnet", "width": 4, "attention": True}
RESNET_GAN = {"generator": {**RESNET, "latent_dim": 8}, "discriminator": RESNET}
R3 = {"name": "r3", "width": 4, "blocks": 1}
PROGRESSIVE = {"name": "progressive", "width": 4}  # for images of 16, 32, ... pixels
PROGRESSIVE_GAN = {"generator": {**PROGRESSIVE, "latent_dim": 8}, "discriminator": PROGRESSIVE}
R3_GAN = {"generator": {**R3, "latent_dim": 8}, "discriminator": R3}
EVALUATION = {
    "features": "classifier:classifier",
    "num_images": 300,
    "confidence": 0.95,
    "cas_kimg": 0.16,
}


def tiny_params(models=RECIPES, training=None):
    """Params as `load_params` would give them.

    `training` is written over the training of every recipe.
    """
    rhythm = {**TRAINING, **RHYTHM, **(training or {})}
    raw = {
        "seed": 7,
        "device": "cpu",
        "threads": 1,
        "datasets": {
            "fashion": {"sources": [{"source": "fashion-mnist"}], "image_size": 28, "channels": 1}
        },
        "models": {
            name: {"dataset": "fashion", **recipe, "training": rhythm}
            for name, recipe in models.items()
        },
        "evaluation": EVALUATION,
        "promotion": {kind: {"metric": "accuracy"} for kind in LOOPS},
    }
    return Params.model_validate_json(json.dumps(raw))


def tiny_model(name, training=None, **changes):
    """One of `RECIPES`, with other values of its keys or of its training."""
    return tiny_params({name: {**RECIPES[name], **changes}}, training).models[name]


def ignore(images_seen, what):
    pass


def train(model, dataset, folder, seed=7, on_log=ignore, on_sample=ignore, on_note=ignore):
    """Train as the stage does, or go on from the checkpoint in `folder`."""
    session = Session(
        torch.device("cpu"), seed, Checkpoints(folder, "tiny"), on_log, on_sample, on_note
    )
    return LOOPS[model.kind](model, dataset, session)


def protocol_of(**changes):
    """How to score, with other values of `evaluation`."""
    params = Evaluation.model_validate_json(json.dumps({**EVALUATION, **changes}))
    return Protocol(params, seed=3, device=torch.device("cpu"))


def rows(evaluated, **wanted):
    """The rows of an evaluation's table that hold these values."""
    return evaluated.table[(evaluated.table[list(wanted)] == list(wanted.values())).all(axis=1)]


def randomised(network):
    """An untrained network that isn't the identity, which restorers begin as."""
    torch.manual_seed(0)
    for weight in network.parameters():
        weight.data.add_(0.05 * torch.randn(weight.shape))
    return network.eval().requires_grad_(False)
