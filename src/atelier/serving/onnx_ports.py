"""What goes into an exported ONNX model, and what comes out, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Axis = int | str  # its size, or the name of a size that is free


@dataclass(frozen=True)
class Settings:
    """What is decided at the export.

    Attributes:
        iterations: of a recurrent network; None: as trained.
        estimate_noise: whether a network with `noise_level` estimates it, instead of an input.
    """

    iterations: int | None = None
    estimate_noise: bool = False


@dataclass(frozen=True)
class Port:
    """What goes in, or comes out, under a name.

    Attributes:
        name: in the ONNX graph.
        element: float32 or int64.
        shape: axes, of which names are free.
        meaning: range and units.
    """

    name: str
    element: str
    shape: tuple[Axis, ...]
    meaning: str

    def __str__(self) -> str:
        return f"{self.element} [{', '.join(map(str, self.shape))}]: {self.meaning}"

    @property
    def free(self) -> dict[int, str]:
        """The axes that have names."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}


def ports_of(config: Mapping[str, Any], settings: Settings) -> tuple[list[Port], Port]:
    """What goes into the ONNX model of a bundle's configuration, and what comes out."""
    channels = config["channels"]
    network = config["network"]
    size = config["image_size"]
    if config["kind"] == "restoration":
        free: tuple[Axis, ...] = ("batch", channels, "height", "width")
        meaning = "degraded images in [0, 1], which noise may leave; sides of at least 2 pixels"
        inputs = [Port("degraded", "float32", free, meaning)]
        if network.get("noise_level") and not settings.estimate_noise:
            meaning = "standard deviation of the noise in units of the image range, 0 to 1"
            inputs.append(Port("sigma", "float32", ("batch",), meaning))
        upscale = network.get("upscale", 1)
        times = "" if upscale == 1 else f"{upscale} * "
        sides = (f"{times}height", f"{times}width")
        restored = Port("restored", "float32", ("batch", channels, *sides), "images in [0, 1]")
        return inputs, restored
    images = Port("images", "float32", ("batch", channels, size, size), "images in [0, 1]")
    classes = network["num_classes"]
    if config["kind"] == "classification":
        shape: tuple[Axis, ...] = ("batch", classes)
        return [images], Port("probabilities", "float32", shape, "of each class, sum 1")
    latents = Port("latents", "float32", ("batch", network["latent_dim"]), "standard normal")
    labels = Port("labels", "int64", ("batch",), f"classes, 0 to {classes - 1}")
    return [latents, labels], images


def draw_inputs(
    config: Mapping[str, Any], inputs: list[Port], sizes: Mapping[str, int]
) -> tuple[Tensor, ...]:
    """Values for all inputs, always the same for the same sizes."""
    rng = torch.Generator().manual_seed(sum(sizes.values()))
    drawn = []
    for port in inputs:
        shape = [int(sizes.get(str(axis), axis)) for axis in port.shape]
        if port.name == "labels":
            drawn.append(torch.randint(config["network"]["num_classes"], shape, generator=rng))
        elif port.name == "latents":
            drawn.append(torch.randn(shape, generator=rng))
        else:
            drawn.append(torch.rand(shape, generator=rng))
    return tuple(drawn)
