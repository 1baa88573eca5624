"""What a served model takes and gives, as MLflow checks it. float32 NCHW, images in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

# What is done to a GAN's latents, by default nothing. GANs of Atelier 0.1 don't know these.
LATENTS: dict[str, int | float] = {"truncation": 0.0, "toward": -1, "amount": 0.0}
SERVING_PACKAGES = ("torch", "mlflow", "numpy", "pandas", "safetensors")


def requirements() -> list[str]:
    """Packages, at the versions installed here, that a served model needs."""
    return [f"{package}=={version(package).split('+')[0]}" for package in SERVING_PACKAGES]


def _restorer_settings(network: Mapping[str, Any]) -> dict[str, int | float]:
    """What can be set for each request, with its default."""
    settings: dict[str, int | float] = {}
    if "iterations" in network:
        settings["iterations"] = 0  # the number it was trained with
    if network.get("noise_level", False):
        settings["sigma"] = -1.0  # below 0: estimated from each image
    return settings


def signature_of(config: Mapping[str, Any], latents: bool = True) -> tuple[Any, Any]:
    """MLflow signature and input example of a bundle's configuration.

    Args:
        config: of the bundle.
        latents: whether a GAN knows `LATENTS`.
    """
    import numpy as np
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    types = {int: DataType.long, float: DataType.double}

    def images(height: int, width: int) -> Schema:
        return Schema([TensorSpec(np.dtype(np.float32), (-1, config["channels"], height, width))])

    def params(defaults: Mapping[str, int | float]) -> ParamSchema:
        return ParamSchema(
            [ParamSpec(name, types[type(value)], value) for name, value in defaults.items()]
        )

    size = config["image_size"] or 64  # restorers alone learn from images of any size, and take any
    example = np.zeros((1, config["channels"], size, size), np.float32)
    if config["kind"] == "restoration":
        settings = _restorer_settings(config["network"])
        schema = params(settings) if settings else None
        return ModelSignature(images(-1, -1), images(-1, -1), schema), example
    if config["kind"] == "classification":
        shape = (-1, config["network"]["num_classes"])
        probabilities = Schema([TensorSpec(np.dtype(np.float32), shape)])
        return ModelSignature(images(size, size), probabilities), example
    request: dict[str, int | float] = {"num_images": 16, "seed": 0, "class": -1}
    if latents:
        request |= LATENTS
    if "refiner" in config:
        request["refined"] = 1
    columns = Schema(
        [ColSpec(types[type(value)], name, required=False) for name, value in request.items()]
    )
    return ModelSignature(columns, images(size, size), params(request)), pd.DataFrame([request])


def accepted_signatures(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Signatures as MLflow stores them: today's, and those of versions from before."""
    signatures = [signature_of(config)[0].to_dict()]
    if config["kind"] == "gan":
        signatures.append(signature_of(config, latents=False)[0].to_dict())
    return signatures
