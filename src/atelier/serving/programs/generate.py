"""Generate an image: python example.py IMAGE.ppm [SEED [CLASS]].

Needs torch and safetensors alone. Writes PPM, or PGM where the images are grey. A seed below 2^32
gives the first image that `atelier generate --seed SEED --class CLASS` gives; CLASS is a number.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))


def load(part: dict[str, Any], name: str, weights: str) -> torch.nn.Module:
    """The network of a part of config.json, from NAME.py and its weights."""
    arguments = {key: value for key, value in part["network"].items() if key != "name"}
    model: torch.nn.Module = getattr(import_module(name), part["builder"])(**arguments).eval()
    model.load_state_dict(load_file(HERE / weights))
    return model


generator = load(config, "network", "weights.safetensors")
seed, wanted = (*map(int, sys.argv[2:]), 0, 0)[:2]
rng = torch.Generator().manual_seed(seed)
z_1Z = torch.randn(config["network"]["latent_dim"], generator=rng)[None]

with torch.inference_mode():
    x_1CHW = (generator(z_1Z, torch.tensor([wanted])) * 0.5 + 0.5).clamp(0, 1)
    if "refiner" in config:
        x_1CHW = load(config["refiner"], "refiner", "refiner.safetensors")(x_1CHW).clamp(0, 1)

pixels_HWC = (x_1CHW[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
magic = {1: b"P5", 3: b"P6"}[config["channels"]]
size = b"%d %d" % (pixels_HWC.shape[1], pixels_HWC.shape[0])
Path(sys.argv[1]).write_bytes(b"%s %s 255\n" % (magic, size) + bytes(pixels_HWC.flatten().tolist()))
