"""Restore a picture: python example.py DEGRADED.ppm RESTORED.ppm [SIGMA].

Needs torch and safetensors alone. PPM for colours, PGM for grey, of 8 bits; others convert to them.
SIGMA: standard deviation of the noise, in [0, 1], for a network with `noise_level`, which estimates
it where it isn't given.
"""

import json
import re
import sys
from pathlib import Path

import network
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
arguments = {key: value for key, value in config["network"].items() if key != "name"}
model = getattr(network, config["builder"])(**arguments).eval()
model.load_state_dict(load_file(HERE / "weights.safetensors"))

content = bytearray(Path(sys.argv[1]).read_bytes())
header = re.sub(rb"#.*", b"", content[:1024]).split(maxsplit=4)[:4]
magic = {1: b"P5", 3: b"P6"}[config["channels"]]
if header[0] != magic or header[3] != b"255":
    sys.exit(f"{sys.argv[1]} must be {'PGM' if magic == b'P5' else 'PPM'}, binary, of 8 bits.")
shape_HWC = (int(header[2]), int(header[1]), config["channels"])
pixels_N = torch.frombuffer(content, dtype=torch.uint8)[-torch.Size(shape_HWC).numel() :]
y_1CHW = pixels_N.view(shape_HWC).permute(2, 0, 1)[None] / 255  # in [0, 1]

with torch.inference_mode():
    x_hat_1CHW = model(y_1CHW, *map(float, sys.argv[3:])).clamp(0, 1)

restored_HWC = (x_hat_1CHW[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
size = b"%d %d" % (restored_HWC.shape[1], restored_HWC.shape[0])
Path(sys.argv[2]).write_bytes(
    b"%s %s 255\n" % (magic, size) + bytes(restored_HWC.flatten().tolist())
)
