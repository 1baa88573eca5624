"""Registered versions made without a training: random weights, a real registry."""

import torch

from atelier.data.store import DatasetInfo
from atelier.registry import CHAMPION
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained
from tests.support import registered

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
    network = registered.BUILDERS[kind](**config).eval()
    for weights in network.parameters():  # the last ones start at zero
        if not weights.any():
            torch.nn.init.normal_(weights, std=0.05)
    classes = CLASSES if kind != "restoration" else ()
    info = DatasetInfo(config.get("image_size"), config["channels"], len(classes), classes, {})
    bundle = write_bundle(
        folder / f"{name}-{number}" / "bundle", kind, Trained(network, config, 0), info
    )
    registered.register(registry, name, bundle)
    return number


def let_answer(registry, name, number):
    """Make a version champion."""
    registry.set_alias(name, CHAMPION, number)
