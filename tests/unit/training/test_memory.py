"""No look at many images takes more of them at a time than a training step does, and none gives
another result."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.store import DatasetInfo
from atelier.evaluation.common import CHUNK, CHUNK_PIXELS, images_in_a_pass, in_chunks
from atelier.evaluation.extractors import classifier_extractor
from atelier.networks.classifiers import build_classifier
from atelier.networks.restorers import build_restorer
from atelier.params import Training
from atelier.training.batches import part_size
from atelier.training.classification import _hits
from atelier.training.datasets import ArrayImages
from atelier.training.restoration import validate

CPU = torch.device("cpu")
STEPS = [{"noise": {"sigma": (0.05, 0.3)}}]


class Watched(torch.nn.Module):
    """A network that remembers how many images it was given at a time."""

    def __init__(self, network):
        super().__init__()
        self.network, self.sizes = network, []
        self.noise_level = getattr(network, "noise_level", False)

    def forward(self, x_BCHW, *told):
        self.sizes.append(len(x_BCHW))
        return self.network(x_BCHW, *told)


def pixels(count, side=16, channels=1):
    return (
        np.random.default_rng(count)
        .integers(0, 256, (count, side, side, channels))
        .astype(np.uint8)
    )


def test_a_part_is_what_one_process_has_in_memory():
    assert part_size(Training(kimg=1, batch_size=24, accumulate=3, devices=2, lr=1e-3)) == 4


@given(count=st.integers(1, 40), batch_size=st.integers(1, 48))
def test_a_validation_is_the_same_in_batches_of_any_size(count, batch_size):
    torch.manual_seed(0)
    network = build_restorer("cnn", channels=1, width=4, depth=2, noise_level=True).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    watched = Watched(network)
    psnr_N, shown = validate(watched, pixels(count), STEPS, CPU, batch_size)
    whole_N, whole_shown = validate(network, pixels(count), STEPS, CPU, count)
    assert max(watched.sizes) <= batch_size
    torch.testing.assert_close(psnr_N, whole_N, atol=1e-4, rtol=0)
    torch.testing.assert_close(shown, whole_shown, atol=1e-5, rtol=0)
    assert len(shown) == 2 * min(8, count)


@given(batch_size=st.integers(1, 60))
def test_the_classes_found_are_the_same_in_batches_of_any_size(batch_size):
    torch.manual_seed(0)
    network = build_classifier("cnn", channels=1, image_size=16, num_classes=3, width=4).eval()
    labels_N = np.arange(50) % 3
    dataset = ArrayImages(DatasetInfo(16, 1, 3, ("a", "b", "c"), {}), pixels(50), labels_N)
    watched = Watched(network)
    assert torch.equal(_hits(watched, dataset, CPU, batch_size), _hits(network, dataset, CPU, 50))
    assert max(watched.sizes) <= batch_size


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_a_pass_of_an_evaluation_has_few_pixels_or_one_image(height, width):
    count = images_in_a_pass(height, width)
    assert count == 1 or (count <= CHUNK and count * height * width <= CHUNK_PIXELS)


def test_large_images_are_evaluated_a_few_at_a_time():
    watched = Watched(torch.nn.Identity())
    x_NCHW = torch.rand(9, 1, 512, 512)
    np.testing.assert_array_equal(in_chunks(watched, x_NCHW, CPU), x_NCHW.numpy())
    assert max(watched.sizes) == 2


def test_a_classifier_takes_features_of_a_few_large_images_at_a_time():
    network = build_classifier("cnn", channels=1, image_size=256, num_classes=2, width=4).eval()
    sizes = []
    network.body.register_forward_pre_hook(
        lambda module, given_BCHW: sizes.append(len(given_BCHW[0]))
    )
    features_ND = classifier_extractor(network, "c/1", CPU).of(torch.rand(19, 1, 256, 256))
    assert len(features_ND) == 19
    assert max(sizes) == 8
