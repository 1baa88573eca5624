"""Data that don't suffice are refused before the training, with what helps."""

import numpy as np
import pytest
import torch

from atelier.errors import TrainingError
from atelier.evaluation.common import Protocol
from atelier.evaluation.extractors import classifier_extractor
from atelier.evaluation.generation import evaluate_generator
from atelier.factory.readiness import FEWEST_COMPARED, require_enough_data
from atelier.networks.classifiers import build_classifier
from atelier.params import Pixels
from tests.support.stored import stored_dataset
from tests.support.tiny import BATCH, RECIPES, TRAINING, tiny_params

RNG = np.random.default_rng(0)


def dataset(tmp_path, train, test, side=28):
    splits = ["train"] * train + ["test"] * test
    pictures = list(RNG.integers(0, 256, (len(splits), side, side, 1), np.uint8))
    labels = [f"class {i % 4}" for i in range(len(splits))]
    return stored_dataset(tmp_path, pictures, labels, splits, name="fashion", image_size=side)


def refusal(params, name, *datasets):
    with pytest.raises(TrainingError) as error:
        require_enough_data(params, name, datasets)
    return str(error.value)


@pytest.mark.parametrize("test", [0, 1, FEWEST_COMPARED - 1])
def test_a_gan_with_too_few_test_images_is_refused(tmp_path, test):
    text = refusal(
        tiny_params({"gan": RECIPES["gan"]}, TRAINING), "gan", dataset(tmp_path, 100, test)
    )
    assert f"the test split has {test} of the {100 + test} images" in text
    assert f"needs at least {FEWEST_COMPARED}" in text
    assert "datasets.fashion.test_fraction to about 0.2" in text


def test_few_pictures_in_all_are_not_helped_by_a_fraction(tmp_path):
    text = refusal(tiny_params({"gan": RECIPES["gan"]}, TRAINING), "gan", dataset(tmp_path, 30, 3))
    assert "test_fraction" not in text
    assert "Add pictures" in text


def test_what_is_accepted_can_be_scored(tmp_path):
    stored = dataset(tmp_path, 40, FEWEST_COMPARED)
    params = tiny_params({"gan": RECIPES["gan"]}, TRAINING)
    require_enough_data(params, "gan", [stored])
    network = build_classifier("cnn", channels=1, image_size=28, num_classes=4, width=4).eval()
    extractor = classifier_extractor(network, "c/1", torch.device("cpu"))
    draw = lambda count, seed: (RNG.random((count, 1, 28, 28), np.float32), None)  # noqa: E731
    protocol = Protocol(params.evaluation, 0, torch.device("cpu"))
    assert evaluate_generator(draw, None, extractor, stored, protocol).scores


def test_a_restorer_needs_two_test_images_and_a_window_of_ssim(tmp_path):
    name = "crnn"
    params = tiny_params({name: RECIPES[name]}, TRAINING)
    require_enough_data(params, name, [dataset(tmp_path / "enough", 40, 2)])
    assert "needs at least 2" in refusal(params, name, dataset(tmp_path / "few", 40, 1))
    bordered = params.evaluation.model_copy(update={"pixels": Pixels(border=9)})
    params = params.model_copy(update={"evaluation": bordered})
    assert "SSIM needs at least 11" in refusal(params, name, dataset(tmp_path / "bordered", 40, 2))


def test_a_batch_larger_than_the_training_set_is_refused(tmp_path):
    text = refusal(
        tiny_params({"crnn": RECIPES["crnn"]}, TRAINING), "crnn", dataset(tmp_path, BATCH - 1, 5)
    )
    assert (
        f"the train split has {BATCH - 1} images, fewer than training.batch_size = {BATCH}" in text
    )
