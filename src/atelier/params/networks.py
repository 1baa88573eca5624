"""The records of networks: one for each entry of a build table in `atelier.networks`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier.params.record import Record


class CnnClassifierNetwork(Record):
    """The classifier's network: strided convolutions, global pooling, linear head."""

    name: Literal["cnn"]
    width: int = Field(ge=4, le=512)  # feature maps of the first layer


class CnnRestorerNetwork(Record):
    """A residual convolutional restorer (DnCNN class)."""

    name: Literal["cnn"]
    width: int = Field(ge=4, le=512)  # feature maps
    depth: int = Field(ge=2, le=64)  # convolutions, one after another
    # It sees the standard deviation of the noise: one model for a range of sigma.
    noise_level: bool = False


class CrnnRestorerNetwork(Record):
    """A recurrent convolutional restorer; weights are shared over the iterations."""

    name: Literal["crnn"]
    width: int = Field(ge=4, le=512)  # feature maps
    iterations: int = Field(ge=1, le=32)  # of the same layers
    cell: Literal["gru", "lstm"] = "gru"  # what is remembered between them
    noise_level: bool = False  # it sees the standard deviation of the noise


class UnetRestorerNetwork(Record):
    """Residual blocks at several resolutions, with skip connections."""

    name: Literal["unet"]
    # Feature maps at half resolution; twice as many at each lower one.
    width: int = Field(ge=4, le=512)
    levels: int = Field(ge=1, le=6)  # resolutions: 1/2, 1/4, ...
    blocks: int = Field(ge=1, le=16)  # at each resolution on the way down, and on the way up
    noise_level: bool = False  # it sees the standard deviation of the noise


class NafnetRestorerNetwork(Record):
    """The same with NAFNet's blocks.

    They have gates in place of activations, and channel attention over the whole picture.
    """

    name: Literal["nafnet"]
    # Feature maps at half resolution; twice as many at each lower one.
    width: int = Field(ge=4, le=512)
    levels: int = Field(ge=1, le=6)  # resolutions: 1/2, 1/4, ...
    blocks: int = Field(ge=1, le=16)  # at each resolution on the way down, and on the way up
    noise_level: bool = False  # it sees the standard deviation of the noise


class ResnetSrRestorerNetwork(Record):
    """Residual blocks at the low resolution, then sub-pixel enlargement (EDSR class)."""

    name: Literal["resnet_sr"]
    # Feature maps at half resolution; twice as many at each lower one.
    width: int = Field(ge=4, le=512)
    blocks: int = Field(ge=1, le=64)  # one after another
    noise_level: bool = False  # it sees the standard deviation of the noise


RestorerNetwork = Annotated[
    CnnRestorerNetwork
    | CrnnRestorerNetwork
    | UnetRestorerNetwork
    | NafnetRestorerNetwork
    | ResnetSrRestorerNetwork,
    Field(discriminator="name"),
]


class DcganGeneratorNetwork(Record):
    """A GAN's generator: plain convolutions and batch normalisation."""

    name: Literal["dcgan"]
    width: int = Field(ge=4, le=512)  # feature maps
    latent_dim: int = Field(ge=1, le=1024)  # random numbers that a picture is drawn from


class DcganDiscriminatorNetwork(Record):
    """A GAN's discriminator: plain convolutions."""

    name: Literal["dcgan"]
    width: int = Field(ge=4, le=512)  # feature maps


class ResnetGeneratorNetwork(Record):
    """A GAN's generator: residual blocks and batch normalisation (BigGAN class)."""

    name: Literal["resnet"]
    width: int = Field(ge=4, le=512)  # feature maps
    latent_dim: int = Field(ge=1, le=1024)  # random numbers that a picture is drawn from
    blocks: int = Field(default=1, ge=1, le=8)  # at each size
    attention: bool = False  # one layer in which far apart places see each other


class ResnetDiscriminatorNetwork(Record):
    """A GAN's discriminator: residual blocks and spectral normalisation (BigGAN class)."""

    name: Literal["resnet"]
    width: int = Field(ge=4, le=512)  # feature maps
    blocks: int = Field(default=1, ge=1, le=8)  # at each size
    attention: bool = False  # one layer in which far apart places see each other


class R3GeneratorNetwork(Record):
    """A GAN's generator: residual blocks without normalisation (R3GAN)."""

    name: Literal["r3"]
    width: int = Field(ge=4, le=512)  # feature maps
    latent_dim: int = Field(ge=1, le=1024)  # random numbers that a picture is drawn from
    blocks: int = Field(default=2, ge=1, le=8)  # at each size


class R3DiscriminatorNetwork(Record):
    """A GAN's discriminator: residual blocks without normalisation (R3GAN)."""

    name: Literal["r3"]
    width: int = Field(ge=4, le=512)  # feature maps
    blocks: int = Field(default=2, ge=1, le=8)  # at each size


class ProgressiveGeneratorNetwork(Record):
    """A GAN's generator: it begins at 8x8 pixels and grows to all of them."""

    name: Literal["progressive"]
    width: int = Field(ge=4, le=512)  # feature maps
    latent_dim: int = Field(ge=1, le=1024)  # random numbers that a picture is drawn from
    # Share of the budget; what remains is trained at full resolution.
    growth: float = Field(default=0.5, gt=0, le=0.67)


class ProgressiveDiscriminatorNetwork(Record):
    """A GAN's discriminator: it grows with its generator."""

    name: Literal["progressive"]
    width: int = Field(ge=4, le=512)  # feature maps


GeneratorNetwork = Annotated[
    DcganGeneratorNetwork
    | ResnetGeneratorNetwork
    | R3GeneratorNetwork
    | ProgressiveGeneratorNetwork,
    Field(discriminator="name"),
]
DiscriminatorNetwork = Annotated[
    DcganDiscriminatorNetwork
    | ResnetDiscriminatorNetwork
    | R3DiscriminatorNetwork
    | ProgressiveDiscriminatorNetwork,
    Field(discriminator="name"),
]
