"""Score a restorer of pictures whose clean originals nobody has: is what it makes distributed as clean pictures are?

Shapes: N clean, M damaged test images, C channels, H height, W width, D features.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from atelier.data.store import StoredDataset
from atelier.evaluation.common import Evaluated, Protocol, images_of, in_chunks, row, test_images
from atelier.evaluation.generation import block_units
from atelier.metrics.distances import fd, kid
from atelier.metrics.intervals import Score
from atelier.pictures import Floats, grid

NUM_SHOWN = 10  # images in the picture for people


def evaluate_unpaired(
    network: nn.Module, damaged: StoredDataset, clean: StoredDataset, classifier: nn.Module, protocol: Protocol
) -> Evaluated:
    """FD and KID of restored test images from clean ones on the classifier's features; the damaged are the baseline.

    Neither tells whether a restored image shows what the damaged one did: look at the picture.

    Args:
        network: the restorer.
        damaged: whose test images are restored.
        clean: whose test images are the reference; of the size and channels of `damaged`.
        classifier: the feature extractor.
        protocol: how to score.
    """
    x_NCHW, _ = test_images(clean, protocol)
    y_MCHW, _ = test_images(damaged, protocol)
    x_hat_MCHW = in_chunks(network, torch.from_numpy(y_MCHW), protocol.device).clip(0, 1)
    train_NCHW = images_of(clean, "train", len(x_NCHW))
    subjects = {"model": x_hat_MCHW, "baseline:identity": y_MCHW, "floor:real training images": train_NCHW}
    features = {name: _features(classifier, x, protocol) for name, x in {"real": x_NCHW, **subjects}.items()}
    scores = {name: _distances(features["real"], features[name], protocol) for name in subjects}
    rows = [row(name, "all", metric, score) for name, found in scores.items() for metric, score in found.items()]
    shown = np.concatenate([y_MCHW[:NUM_SHOWN], x_hat_MCHW[:NUM_SHOWN]])
    picture = grid(shown, columns=min(NUM_SHOWN, len(y_MCHW)))
    units = block_units(features["real"], features["model"], protocol.seed)
    return Evaluated(scores["model"], pd.DataFrame(rows), {"restored.png": picture}, units)


def _features(classifier: nn.Module, x_NCHW: Floats, protocol: Protocol) -> Floats:
    return in_chunks(classifier.features, torch.from_numpy(np.ascontiguousarray(x_NCHW)), protocol.device)


def _distances(real_ND: Floats, fake_MD: Floats, protocol: Protocol) -> dict[str, Score]:
    confidence, seed = protocol.params.confidence, protocol.seed
    return {
        "fd_classifier": fd(real_ND, fake_MD, confidence, seed),
        "kid_classifier": kid(real_ND, fake_MD, confidence, seed),
    }
