"""Class-conditional image generators, one build table: latent and label in, image in [-1, 1] out.

At evaluation an image depends on its own latent and label alone, in all of them.
"""

from typing import Any

from torch import nn

from atelier.networks.gans.dcgan import DcganGenerator
from atelier.networks.gans.progressive import ProgressiveGenerator
from atelier.networks.gans.r3 import R3Generator
from atelier.networks.gans.resnet import ResnetGenerator

GENERATORS: dict[str, type[nn.Module]] = {
    "dcgan": DcganGenerator,
    "resnet": ResnetGenerator,
    "r3": R3Generator,
    "progressive": ProgressiveGenerator,
}


def build_generator(name: str, **kwargs: Any) -> nn.Module:
    """The generator `name` of `GENERATORS`, with fresh weights from torch's global generator."""
    return GENERATORS[name](**kwargs)
