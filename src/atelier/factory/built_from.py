"""What a model takes from a registered version of another.

That is a GAN's images to learn from, or a restorer to draw through.

`atelier.params.references` knows which model that is, `atelier.factory.plan` which version.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atelier.errors import TrainingError
from atelier.factory import Factory
from atelier.params import GanModel, RestorationModel
from atelier.registry import Registry, Version
from atelier.training.device import choose_device, make_deterministic
from atelier.training.extension import MOST, draw_images

if TYPE_CHECKING:
    import numpy as np
    import torch

    from atelier.data.store import StoredDataset

log = logging.getLogger("atelier")


def generated_file(checkpoints: Path) -> Path:
    """Where the generated training images lie until the training with these checkpoints is done."""
    return checkpoints / "generated.bin"


def draw_extension(
    factory: Factory,
    name: str,
    source: str,
    dataset: StoredDataset,
    checkpoints: Path,
    may_stop: Callable[[], None] = lambda: None,
) -> int:
    """Draw the images that extend a model's training images, unless an interrupted training did.

    Args:
        factory: that holds the GAN.
        name: the model.
        source: the GAN's version, `name/number`; empty if the model learns from its own alone.
        dataset: of the model.
        checkpoints: folder of the training's checkpoints.
        may_stop: called before every part of the drawing; what it raises ends it.

    Returns:
        Their number.

    Raises:
        TrainingError: if that version is no GAN, or none that learnt this dataset in this form.
    """
    params = factory.params
    registry = factory.registry
    model = params.models[name]
    if not source or not isinstance(model, RestorationModel):
        return 0
    assert model.data.extend is not None
    version = registry.resolve(source)
    info = dataset.info
    served = registry.load(version).unwrap_python_model()
    where = f"models.{name}.data.extend: {version}"
    _refuse_unfit(registry, version, served.config, dataset, where)
    limit = model.data.limit or MOST
    train = info.counts["train"]
    count = model.data.extend.images or min(train, limit, MOST)
    _move_to(choose_device(params.device), served)
    make_deterministic(params.threads)
    assert info.image_size is not None  # it is the GAN's
    shape = count, info.image_size, info.image_size, info.channels

    def draw(number: int, seed: int) -> np.ndarray:
        may_stop()
        return _draw(served, number, seed)

    draw_images(draw, shape, params.seed, generated_file(checkpoints))
    log.info("%s  learns from %d images by %s as well", name, count, version)
    return count


def _move_to(device: torch.device, served: Any) -> None:
    """Move all networks of a served model."""
    served.network.to(device)
    refiner = getattr(served, "refiner", None)  # versions of before have none
    if refiner is not None:
        refiner.to(device)


def _refuse_unfit(
    registry: Registry,
    version: Version,
    config: Mapping[str, Any],
    dataset: StoredDataset,
    where: str,
) -> None:
    """Stop if a version is no GAN, or none that learnt this dataset in this form."""
    info = dataset.info
    if config["kind"] != "gan":
        raise TrainingError(f"{where} is a {config['kind']} model. Name a GAN.")
    if (config["image_size"], config["channels"]) != (info.image_size, info.channels):
        raise TrainingError(
            f"{where} draws squares of {config['image_size']} pixels in {config['channels']} "
            f"channels, the images of {dataset.name} have {info.image_size} and {info.channels}. "
            "Train it again, or name another version."
        )
    learnt = list(
        (registry.runs.read_json(version.run_id, "fingerprint.json") or {}).get("data", {})
    )
    if dataset.name not in learnt:
        raise TrainingError(
            f"{where} learnt {', '.join(learnt) or 'nobody knows what'}, not {dataset.name}: "
            f"what it draws may be test data here. Name a GAN of {dataset.name}."
        )


def _draw(served: Any, num_images: int, seed: int) -> np.ndarray:
    import pandas as pd

    drawn: np.ndarray = served.predict(
        None, pd.DataFrame({"num_images": [num_images], "seed": [seed]})
    )
    return drawn


def fetch_refiner(
    factory: Factory, name: str, source: str, dataset: StoredDataset, folder: Path
) -> Path | None:
    """Copy the bundle of the restorer that a GAN is to draw through into a new folder.

    Args:
        factory: that holds the restorer.
        name: the model.
        source: the restorer's version, `name/number`; empty if the model draws through none.
        dataset: of the model.
        folder: where the copy goes.

    Returns:
        The folder; None if the model draws through no restorer.

    Raises:
        TrainingError: if that version is no restorer of images like the GAN's.
    """
    if not source or not isinstance(factory.params.models[name], GanModel):
        return None
    factory.registry.fetch_bundle(factory.registry.resolve(source), folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    where = f"models.{name}.refine: {source}"
    if config["kind"] != "restoration":
        raise TrainingError(f"{where} is a {config['kind']} model. Name a restorer.")
    upscale = config["network"].get("upscale", 1)
    if upscale != 1:
        raise TrainingError(
            f"{where} would enlarge the images {upscale} times. "
            "Name a restorer that keeps their size."
        )
    if config["channels"] != dataset.info.channels:
        raise TrainingError(
            f"{where} restores images of {config['channels']} channels, those of {dataset.name} "
            f"have {dataset.info.channels}. Name another restorer."
        )
    return folder
