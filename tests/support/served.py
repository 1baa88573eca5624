"""Registered versions made without a training: random weights, a real registry."""

import torch

from atelier.data.store import DatasetInfo
from atelier.networks.classifiers import build_classifier
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer
from atelier.registry import CHAMPION
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained

BUILDERS = {
    "restoration": build_restorer,
    "gan": build_generator,
    "classification": build_classifier,
}
CLASSES = ("shirt", "shoe", "bag")
GREY = {"name": "cnn", "channels": 1, "width": 4, "depth": 2, "upscale": 1}
COLOUR = {**GREY, "channels": 3, "noise_level": True}
ENLARGE = {"name": "resnet_sr", "channels": 3, "width": 4, "blocks": 1, "upscale": 2}
GAN = {"name": "dcgan", "channels": 1, "image_size": 16, "num_classes": 3}
GAN |= {"width": 4, "latent_dim": 8}
CLASSIFIER = {"name": "cnn", "channels": 1, "image_size": 16, "num_classes": 3, "width": 4}


def register(registry, folder, name, kind, config):
    """A new version with weights of its own; returns its number."""
    number = len(registry.versions(name)) + 1
    torch.manual_seed(number)
    network = BUILDERS[kind](**config).eval()
    for weights in network.parameters():  # the last ones start at zero
        if not weights.any():
            torch.nn.init.normal_(weights, std=0.05)
    classes = CLASSES if kind != "restoration" else ()
    info = DatasetInfo(config.get("image_size"), config["channels"], len(classes), classes, {})
    bundle = write_bundle(
        folder / f"{name}-{number}" / "bundle", kind, Trained(network, config, 0), info
    )
    run_id = registry.runs.start(name, f"fingerprint {number}", {})
    registry.runs.end(run_id, "FINISHED")
    registry.register(name, run_id, bundle, {})
    return number


def let_answer(registry, name, number):
    """Make a version champion."""
    registry.set_alias(name, CHAMPION, number)
