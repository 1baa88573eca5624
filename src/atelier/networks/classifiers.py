"""Image classifiers, and the feature extractor of the distances (build table: `CLASSIFIERS`).

This file imports nothing of Atelier: its source is stored beside the weights of every registered
model, loaded by path.

Shape suffixes: B batch, C channels, H height, W width, K classes, D features.
"""

from typing import Any

from torch import Tensor, nn

# Distances between feature distributions need a D x D covariance from some thousand images, so D
# stays small.
MAX_FEATURES = 128


def _conv_block(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class CnnClassifier(nn.Module):
    """Five convolutions with batch normalisation, global average pooling, one linear head.

    The first convolution has stride 2: on a CPU the full resolution costs most of the time and adds
    little accuracy.

    Args:
        channels: image channels.
        num_classes: number of classes.
        image_size: smallest side of the images in pixels, >= 16.
        width: channels of the first stage; the later ones have twice and four times as many.
    """

    head: nn.Linear

    def __init__(self, channels: int, num_classes: int, image_size: int, width: int) -> None:
        super().__init__()
        if image_size < 16:
            raise ValueError(
                f"image_size = {image_size} is below 16: the network halves it three times."
            )
        num_features = min(4 * width, MAX_FEATURES)
        self.body = nn.Sequential(
            _conv_block(channels, width, kernel_size=5, stride=2),
            _conv_block(width, width),
            nn.MaxPool2d(2),
            _conv_block(width, 2 * width),
            _conv_block(2 * width, 2 * width),
            nn.MaxPool2d(2),
            _conv_block(2 * width, num_features),
        )
        self.head = nn.Linear(num_features, num_classes)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Penultimate activations, the extractor of FD and KID.

        Args:
            x_BCHW: images, float32 in [0, 1].

        Returns:
            features_BD: non-negative, D = min(4 * width, 128).
        """
        maps_BDHW: Tensor = self.body(x_BCHW - 0.5)  # roughly centred input
        return maps_BDHW.mean(dim=(2, 3))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Class scores.

        Args:
            x_BCHW: images, float32 in [0, 1].

        Returns:
            logits_BK: unbounded; softmax gives probabilities.
        """
        logits_BK: Tensor = self.head(self.features(x_BCHW))
        return logits_BK


CLASSIFIERS: dict[str, type[nn.Module]] = {"cnn": CnnClassifier}


def build_classifier(name: str, **kwargs: Any) -> nn.Module:
    """The classifier `name` of `CLASSIFIERS`, with fresh weights from torch's global generator."""
    return CLASSIFIERS[name](**kwargs)
