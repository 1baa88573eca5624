"""The growth of a progressive GAN in training.

Its schedule, what real images look like meanwhile, and resuming.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from atelier.data.store import DatasetInfo
from atelier.networks.discriminators import build_discriminator
from atelier.networks.gans.progressive import ProgressiveGenerator
from atelier.networks.generators import build_generator
from atelier.training.checkpoint import Checkpoints
from atelier.training.datasets import ArrayImages
from atelier.training.growth import faded, grow
from atelier.training.schedules import growth_stage
from tests.support.tiny import BATCH, PROGRESSIVE_GAN, tiny_model, train


def test_each_doubling_settles_then_fades_in_and_the_rest_of_the_budget_is_complete():
    stages = [growth_stage(seen / 1000, 0.6, 3) for seen in range(0, 1001, 50)]
    assert stages == [
        pytest.approx(s) for s in (0, 0, 0, 0.5, 1, 1, 1, 1.5, 2, 2, 2, 2.5, 3, *[3] * 8)
    ]


@given(progress=st.floats(0, 0.99), growth=st.floats(0.01, 0.67), doublings=st.integers(1, 5))
def test_growth_never_goes_back_and_is_complete_for_the_last_third(progress, growth, doublings):
    stage = growth_stage(progress, growth, doublings)
    assert 0 <= stage <= growth_stage(progress + 0.01, growth, doublings) <= doublings
    assert growth_stage(0.68, growth, doublings) == doublings


@pytest.fixture
def G():
    torch.manual_seed(0)
    return ProgressiveGenerator(3, 32, num_classes=2, latent_dim=8, width=4, growth=0.5)


def test_all_networks_of_a_gan_grow_together(G):
    average, D = (
        ProgressiveGenerator(3, 32, 2, 8, 4, 0.5),
        build_discriminator("progressive", channels=3, **SHAPE),
    )
    for seen, stage in [(0, 0.0), (437, 1.496), (800, 2.0)]:
        grow(G, (D, average), seen / 1000)
        assert G.stage == D.stage == average.stage == pytest.approx(stage)


SHAPE = {"image_size": 32, "num_classes": 2, "width": 4}


def test_other_networks_know_nothing_of_growth():
    other, x_BCHW = (
        build_generator("dcgan", channels=3, latent_dim=8, **SHAPE),
        torch.rand(2, 3, 32, 32),
    )
    grow(other, (nn.Linear(1, 1),), 0.0)
    assert not hasattr(other, "stage")
    assert faded(other, x_BCHW) is x_BCHW


def cells(x_BCHW, size):
    """Means over squares of `size` pixels, at full size."""
    blocks = x_BCHW.unflatten(3, (-1, size)).unflatten(2, (-1, size)).mean(dim=(3, 5))
    return blocks.repeat_interleave(size, 2).repeat_interleave(size, 3)


def test_real_images_fade_as_generated_ones_do(G):
    x_BCHW = torch.rand(2, 3, 32, 32)
    for stage, coarse in [(0.25, 4), (1.5, 2)]:
        G.stage = stage
        share = stage % 1
        torch.testing.assert_close(
            faded(G, x_BCHW), (1 - share) * cells(x_BCHW, coarse) + share * x_BCHW
        )
    for stage in (0.0, 1.0, 2.0):
        G.stage = stage
        assert faded(G, x_BCHW) is x_BCHW


class Interrupted(Exception):
    pass


@pytest.fixture
def small(fashion):
    """The middle of real images: one doubling."""
    info = DatasetInfo(16, 1, 10, fashion.info.class_names, {})
    return ArrayImages(info, fashion.images("train")[:][:, 6:22, 6:22], fashion.labels("train"))


@pytest.fixture
def one_thread():
    """Sums of two threads may differ in their last bit from those of one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_training_that_is_interrupted_in_the_middle_of_a_fade_ends_bit_identical(
    small, tmp_path, one_thread
):
    model, stop_at = tiny_model("gan", **PROGRESSIVE_GAN), 5 * BATCH
    stages = [
        growth_stage(seen / (1000 * model.training.kimg), 0.5, 1) for seen in (4 * BATCH, stop_at)
    ]
    assert 0 < stages[0] < stages[1] < 1  # the checkpoint is of 4 steps

    def stop(images_seen, values):
        if images_seen == stop_at:
            raise Interrupted

    whole = train(model, small, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(model, small, tmp_path / "cut", on_log=stop)
    assert Checkpoints(tmp_path / "cut", "tiny").load()["images_seen"] == 4 * BATCH
    resumed = train(model, small, tmp_path / "cut")
    weights, others = (trained.network.state_dict() for trained in (whole, resumed))
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []
    assert resumed.network.stage == whole.network.stage == 1.0


def test_samples_have_the_resolution_that_has_been_reached(small, tmp_path):
    model, shown = tiny_model("gan", **PROGRESSIVE_GAN, training={"sample_every_kimg": 0.016}), []
    train(model, small, tmp_path, on_sample=lambda images_seen, x_BCHW: shown.append(x_BCHW))
    coarse = [bool(np.allclose(x_BCHW, cells(x_BCHW, 2), atol=1e-6)) for x_BCHW in shown]
    assert coarse == [True] * 3 + [False] * 9


def test_a_training_of_a_single_step_gives_a_complete_network(small, tmp_path):
    trained = train(tiny_model("gan", **PROGRESSIVE_GAN, training={"kimg": 0.016}), small, tmp_path)
    assert trained.network.stage == 1.0
