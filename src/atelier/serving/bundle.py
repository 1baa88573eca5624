"""The folder that is registered: weights as safetensors, and what the network is built by."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atelier.serving import TILES

if TYPE_CHECKING:
    from atelier.data.store import DatasetInfo
    from atelier.training.session import Trained


def write_bundle(folder: Path, kind: str, trained: Trained, info: DatasetInfo) -> Path:
    """Write config.json, network.py and weights.safetensors into a new folder; returns it.

    A restorer's gets tiles.py as well.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    config = {
        "kind": kind,
        "builder": type(trained.network).__name__,  # in network.py
        "network": trained.network_config,
        "channels": info.channels,
        "image_size": info.image_size,
        "class_names": _class_names(kind, trained, info),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    source = inspect.getsource(sys.modules[type(trained.network).__module__])
    (folder / "network.py").write_text(source, encoding="utf-8")
    if kind == "restoration":
        shutil.copy(TILES, folder / "tiles.py")
    weights = {
        key: value.detach().cpu().contiguous()
        for key, value in trained.network.state_dict().items()
    }
    save_file(weights, folder / "weights.safetensors")
    return folder


def _class_names(kind: str, trained: Trained, info: DatasetInfo) -> list[str]:
    """Those that can be asked for: an unconditional GAN knows none, whatever its dataset has."""
    if kind == "gan" and trained.network_config["num_classes"] != info.num_classes:
        return []
    return list(info.class_names)


def add_refiner(gan: Path, restorer: Path, version: str) -> None:
    """Store the network of a restorer's bundle in that of a GAN.

    The GAN's images will have passed through it.

    Args:
        gan: folder of the GAN's bundle.
        restorer: folder of the restorer's.
        version: of the restorer, `name/number`, to be kept with it.
    """
    config = _read_config(gan)
    restorer_config = _read_config(restorer)
    config["refiner"] = {
        "version": version,
        "builder": restorer_config["builder"],
        "network": restorer_config["network"],
    }
    (gan / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    shutil.copy(restorer / "network.py", gan / "refiner.py")
    shutil.copy(restorer / "weights.safetensors", gan / "refiner.safetensors")


def _read_config(bundle: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    return config
