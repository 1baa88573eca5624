"""Score a restorer of pictures whose clean originals nobody has.

Is what it makes distributed as clean pictures are?

Shapes: N clean, M damaged test images, C channels, H height, W width, D features.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from atelier.data.store import StoredDataset
from atelier.evaluation.common import Evaluated, Protocol, in_chunks, rows_of, test_images
from atelier.evaluation.extractors import Extractor
from atelier.evaluation.feature_cache import real_features
from atelier.evaluation.generation import block_units, with_extractor
from atelier.metrics.generation import distance_scores
from atelier.pictures import Floats, grid

NUM_SHOWN = 10  # images in the picture for people


def evaluate_unpaired(
    network: nn.Module,
    damaged: StoredDataset,
    clean: StoredDataset,
    extractor: Extractor,
    protocol: Protocol,
) -> Evaluated:
    """How restored test images differ from clean ones, on the extractor's features.

    The damaged are the baseline.

    No score tells whether a restored image shows what the damaged one did: look at the picture.

    Args:
        network: the restorer.
        damaged: whose test images are restored.
        clean: whose test images are the reference; of the size and channels of `damaged`.
        extractor: what takes the features.
        protocol: how to score.
    """
    count, folder = protocol.params.num_images, protocol.features
    found: list[Floats] = []
    pairs: list[tuple[Floats, Floats]] = []
    for y_BCHW in test_images(damaged, protocol):
        x_hat_BCHW = in_chunks(network, torch.from_numpy(y_BCHW), protocol.device).clip(0, 1)
        found.append(extractor.of(x_hat_BCHW))
        if len(pairs) < NUM_SHOWN:
            pairs += zip(y_BCHW[:NUM_SHOWN], x_hat_BCHW[:NUM_SHOWN], strict=True)
    real_ND = real_features(extractor, clean, "test", count, folder)
    features = {
        "model": np.concatenate(found),
        "baseline:identity": real_features(extractor, damaged, "test", count, folder),
        "floor:real training images": real_features(
            extractor, clean, "train", len(real_ND), folder
        ),
    }
    confidence, seed = protocol.params.confidence, protocol.seed
    scores = {
        subject: with_extractor(
            distance_scores(real_ND, of_subject, confidence, seed, extractor.name), extractor
        )
        for subject, of_subject in features.items()
    }
    shown = [np.stack(images) for images in zip(*pairs[:NUM_SHOWN], strict=True)]
    picture = grid(np.concatenate(shown), columns=len(shown[0]))
    units = block_units(real_ND, features["model"], seed, extractor)
    return Evaluated(
        scores["model"], pd.DataFrame(rows_of(scores)), {"restored.png": picture}, units
    )
