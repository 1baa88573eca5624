"""Class-conditional discriminators, one build table: image in [-1, 1] and label in, logit out.

No logit depends on the other images of its batch, in all of them, so gradient penalties are per
image.
"""

from typing import Any

from torch import nn

from atelier.networks.gans.dcgan import DcganDiscriminator
from atelier.networks.gans.progressive import ProgressiveDiscriminator
from atelier.networks.gans.r3 import R3Discriminator
from atelier.networks.gans.resnet import ResnetDiscriminator

DISCRIMINATORS: dict[str, type[nn.Module]] = {
    "dcgan": DcganDiscriminator,
    "resnet": ResnetDiscriminator,
    "r3": R3Discriminator,
    "progressive": ProgressiveDiscriminator,
}


def build_discriminator(name: str, **kwargs: Any) -> nn.Module:
    """The discriminator `name` of `DISCRIMINATORS`, with fresh weights by torch's generator."""
    return DISCRIMINATORS[name](**kwargs)
