"""A version as a folder that runs without Atelier and MLflow: torch and safetensors are enough.

`programs/` holds its example.py for each kind, each whole in itself: what they have in common is
repeated, since whoever gets the folder gets one of them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from atelier.errors import UsageError
from atelier.serving.export_facts import render_card

PROGRAMS = Path(__file__).with_name("programs")
PROGRAM_OF = {"restoration": "restore", "classification": "classify", "gan": "generate"}
HOW = {
    "restoration": "python example.py DEGRADED.ppm RESTORED.ppm",
    "classification": "python example.py PICTURE.ppm",
    "gan": "python example.py IMAGE.ppm [SEED [CLASS]]",
}
CONTRACTS = {
    "restoration": "`network(y)` takes float32 NCHW of any height and width, images in [0, 1] that "
    "noise may leave, and gives estimates of the clean ones, to be clipped to [0, 1].",
    "classification": "`network(x)` takes float32 NCHW in [0, 1] and gives logits NK: softmax over "
    "K makes probabilities of them.",
    "gan": "`network(z, labels)` takes standard normal latents, float32 NZ, and classes, int64 N, "
    "and gives images NCHW in [-1, 1]: x * 0.5 + 0.5 is in [0, 1], which a refiner takes.",
}


def refuse_folder(folder: Path) -> None:
    """To be called before any work whose result is to be written there.

    Raises:
        UsageError: if there is anything but an empty folder.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise UsageError(
            f"{folder} was there before and is no empty folder. Nothing was written. Name another "
            "one with -o."
        )


def write_standalone(bundle: Path, folder: Path, facts: Mapping[str, str]) -> None:
    """Write a folder whole or not at all: the bundle's files, example.py and README.md.

    Args:
        bundle: folder of a version: config.json, network.py, weights.safetensors; of a refiner too.
        folder: a new or an empty one.
        facts: of the version, for its card.

    Raises:
        UsageError: as `refuse_folder`, or if the place can't be written to.
    """
    refuse_folder(folder)
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            left_out = shutil.ignore_patterns("tiles.py")  # example.py restores in one pass
            whole = shutil.copytree(bundle, Path(scratch) / "whole", ignore=left_out)
            kind = json.loads((whole / "config.json").read_text(encoding="utf-8"))["kind"]
            shutil.copyfile(PROGRAMS / f"{PROGRAM_OF[kind]}.py", whole / "example.py")
            (whole / "README.md").write_text(_readme(kind, facts), encoding="utf-8")
            whole.rename(folder)
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error.strerror or error}.") from None


def _readme(kind: str, facts: Mapping[str, str]) -> str:
    how = f"    pip install torch safetensors\n    {HOW[kind]}"
    files = (
        "network.py is the network's source, config.json what it is built by, weights.safetensors "
        "what it learnt; example.py puts them together."
    )
    return render_card(facts["version"], facts, "\n\n".join([how, CONTRACTS[kind], files]))
