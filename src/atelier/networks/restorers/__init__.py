"""Image restorers: degraded image in, estimate of the clean one out (build table: `RESTORERS`).

What they share, so that one training loop, one evaluation and one served model fit them all:

- images of any height and width, one or three channels; equal sizes, or `upscale` times larger
(super-resolution);
- `forward(y_BCHW, sigma=None)`, and `estimates` with the same arguments: the list of the successive
estimates;
- they start as the identity, or as bicubic enlargement, and learn what to add to it;
- no estimate depends on the other images of its batch;
- inside they work at reduced resolution (pixel-unshuffle, as in FFDNet, arXiv:1710.04026): a
quarter of the time.

With `noise_level=True` one network serves a range of noise: it sees the standard deviation as one
more channel.
"""

from typing import Any

from torch import nn

from atelier.networks.restorers.cnn import CnnRestorer
from atelier.networks.restorers.crnn import CrnnRestorer
from atelier.networks.restorers.resnet_sr import ResnetSrRestorer
from atelier.networks.restorers.unet import NafnetRestorer, UnetRestorer

__all__ = [
    "RESTORERS",
    "CnnRestorer",
    "CrnnRestorer",
    "NafnetRestorer",
    "ResnetSrRestorer",
    "UnetRestorer",
    "build_restorer",
]

RESTORERS: dict[str, type[nn.Module]] = {
    "cnn": CnnRestorer,
    "crnn": CrnnRestorer,
    "unet": UnetRestorer,
    "nafnet": NafnetRestorer,
    "resnet_sr": ResnetSrRestorer,
}


def build_restorer(name: str, **kwargs: Any) -> nn.Module:
    """The restorer `name` of `RESTORERS`, with fresh weights from torch's global generator."""
    return RESTORERS[name](**kwargs)
