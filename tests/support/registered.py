"""Small networks, none with a weight at its first value, as registered versions of a project."""

import shutil

import torch

from atelier.data.store import DatasetInfo
from atelier.networks.classifiers import build_classifier
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer
from atelier.serving.bundle import add_refiner, write_bundle
from atelier.training.session import Trained
from tests.support.tiny import randomised

BUILDERS = {
    "classification": build_classifier,
    "gan": build_generator,
    "restoration": build_restorer,
}
RESTORER = {"width": 4, "channels": 3, "upscale": 1}
SHAPE = {"channels": 3, "image_size": 16, "num_classes": 3, "width": 4}
GAN = {**SHAPE, "latent_dim": 8}
NAMES = ("coat", "bag|s", "shirt")
CONFIGS = {  # name -> (kind, configuration of the network)
    "cnn": ("restoration", {"name": "cnn", **RESTORER, "depth": 3}),
    "cnn-levels": ("restoration", {"name": "cnn", **RESTORER, "depth": 3, "noise_level": True}),
    "unet": ("restoration", {"name": "unet", **RESTORER, "levels": 3, "blocks": 1}),
    "crnn": ("restoration", {"name": "crnn", **RESTORER, "iterations": 2}),
    "crnn-lstm": (
        "restoration",
        {"name": "crnn", **RESTORER, "iterations": 2, "cell": "lstm", "noise_level": True},
    ),
    "resnet-sr": ("restoration", {"name": "resnet_sr", **RESTORER, "blocks": 1, "upscale": 2}),
    "nafnet": ("restoration", {"name": "nafnet", **RESTORER, "levels": 2, "blocks": 1}),
    "classifier": ("classification", {"name": "cnn", **SHAPE}),
    "dcgan": ("gan", {"name": "dcgan", **GAN}),
    "resnet": ("gan", {"name": "resnet", **GAN, "blocks": 1, "attention": True}),
    "r3": ("gan", {"name": "r3", **GAN, "blocks": 1}),
    "progressive": ("gan", {"name": "progressive", **GAN, "growth": 0.5}),
}


def make_bundle(folder, name):
    """The bundle of one of `CONFIGS`, or `refined`: dcgan, whose images pass through crnn."""
    if name == "refined":
        bundle = shutil.copytree(make_bundle(folder, "dcgan"), folder / "refined" / "bundle")
        add_refiner(bundle, make_bundle(folder, "crnn"), "crnn/1")
        return bundle
    kind, config = CONFIGS[name]
    network = BUILDERS[kind](**config)
    torch.manual_seed(1)
    for key, tensor in network.state_dict().items():
        if key.endswith("running_var"):
            tensor.add_(torch.rand(tensor.shape))
    info = DatasetInfo(config.get("image_size"), 3, 3, NAMES, {})
    trained = Trained(randomised(network), config, 0)
    return write_bundle(folder / name / "bundle", kind, trained, info)


def register(registry, name, bundle):
    """A new version, of the bundle as it is."""
    run_id = registry.runs.start(name, str(bundle), {})
    return registry.register(name, run_id, bundle, {})
