"""Print the probabilities of a picture's classes: python example.py PICTURE.ppm.

Needs torch and safetensors alone. PPM for colours, PGM for grey, of 8 bits; others convert to them.
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
side = config["image_size"]
if header != [magic, b"%d" % side, b"%d" % side, b"255"]:
    form = "PGM" if magic == b"P5" else "PPM"
    sys.exit(f"{sys.argv[1]} must be {form}, binary, of 8 bits and {side} x {side} pixels.")
shape_HWC = (side, side, config["channels"])
pixels_N = torch.frombuffer(content, dtype=torch.uint8)[-torch.Size(shape_HWC).numel() :]
x_1CHW = pixels_N.view(shape_HWC).permute(2, 0, 1)[None] / 255  # in [0, 1]

with torch.inference_mode():
    probabilities_K = model(x_1CHW).softmax(dim=1)[0]

for name, probability in zip(config["class_names"], probabilities_K.tolist(), strict=True):
    print(f"{probability:.6f}  {name}")
