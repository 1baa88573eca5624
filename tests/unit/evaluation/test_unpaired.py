"""What is measured of a restorer whose damaged pictures have no clean originals."""

import numpy as np
import pytest
import torch
from torch import nn

from atelier.evaluation import evaluate_unpaired
from atelier.evaluation.extractors import classifier_extractor
from atelier.metrics.directions import higher_is_better
from atelier.params.measures import distances
from tests.support.tiny import protocol_of, rows, tiny_model, train


@pytest.fixture(scope="module")
def classifier(fashion, tmp_path_factory):
    model = tiny_model("classifier", training={"kimg": 0.8, "lr": 1e-2, "sample_every_kimg": 9.0})
    return train(model, fashion, tmp_path_factory.mktemp("classifier")).network


class Inverted:
    """The same dataset with its pictures inverted, as if they were damaged."""

    def __init__(self, dataset):
        self.dataset, self.info, self.name = dataset, dataset.info, "inverted"

    def images(self, split):
        return 255 - self.dataset.images(split)[:]

    def labels(self, split):
        return None


class Invert(nn.Module):
    def forward(self, y_BCHW):
        return 1 - y_BCHW


@pytest.mark.parametrize(
    ("network", "is_good"), [(nn.Identity(), False), (Invert(), True)], ids=["nothing", "all"]
)
def test_what_is_restored_without_originals_is_compared_with_clean_pictures(
    fashion, classifier, network, is_good
):
    extractor = classifier_extractor(classifier, "classifier/1", torch.device("cpu"))
    evaluated = evaluate_unpaired(network, Inverted(fashion), fashion, extractor, protocol_of())
    assert list(evaluated.scores) == distances("classifier")
    for metric in evaluated.scores:
        values = rows(evaluated, metric=metric).set_index("subject").value
        assert list(values.index) == ["model", "baseline:identity", "floor:real training images"]
        assert values["model"] == evaluated.scores[metric].value
        loss = -values if higher_is_better(metric) else values
        assert loss["floor:real training images"] < loss["baseline:identity"]
        assert (loss["model"] < loss["floor:real training images"]) == is_good
        assert (values["model"] == pytest.approx(values["baseline:identity"], rel=1e-4)) == (
            not is_good
        )
    (picture,) = evaluated.pictures.values()
    assert picture.dtype == np.uint8
