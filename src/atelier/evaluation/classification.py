"""Score a classifier. Shapes: N test images, K classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch import nn

from atelier.data.store import StoredDataset
from atelier.evaluation.common import Evaluated, Protocol, class_scores, row, tested_classes
from atelier.metrics.classification import confusion_matrix, recall_by_class
from atelier.pictures import grid


def evaluate_classifier(
    network: nn.Module, dataset: StoredDataset, protocol: Protocol
) -> Evaluated:
    """Accuracy, macro recall and macro F1 on the test images; recall of each class as slices."""
    labels_N, predicted_N = tested_classes(network, dataset, protocol)
    scores = class_scores(labels_N, predicted_N, dataset, protocol)
    by_class = recall_by_class(
        labels_N, predicted_N, dataset.info.num_classes, protocol.params.confidence
    )
    names = dataset.info.class_names
    rows = [row("model", "all", name, score) for name, score in scores.items()]
    rows += [
        row("model", f"class:{names[label]}", "recall", score) for label, score in by_class.items()
    ]
    confusion_KK = confusion_matrix(labels_N, predicted_N, dataset.info.num_classes).astype(
        np.float32
    )
    shares = confusion_KK / confusion_KK.sum(axis=1, keepdims=True).clip(min=1)
    units = pd.DataFrame(
        {
            "unit": dataset.hashes("test")[: len(labels_N)],
            "class": [names[label] for label in labels_N],
            "accuracy": (predicted_N == labels_N).astype(np.float64),
        }
    )
    return Evaluated(
        scores,
        pd.DataFrame(rows),
        {"confusion.png": grid(1 - shares[None, None], 1, scale=16)},
        units,
    )
