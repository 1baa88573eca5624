"""Tiles against one pass: equal bit by bit, whatever the size, the network and its weights."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atelier.networks.restorers import build_restorer
from atelier.networks.restorers.cnn import _estimate_sigma
from atelier.serving import tiles

SHAPE = {"channels": 3, "width": 4}
NETWORKS = {
    "cnn": {"name": "cnn", "depth": 3},
    "cnn-x2": {"name": "cnn", "depth": 2, "upscale": 2},
    "cnn-levels": {"name": "cnn", "depth": 2, "noise_level": True},
    "crnn": {"name": "crnn", "iterations": 2},
    "crnn-lstm-x2": {"name": "crnn", "iterations": 1, "cell": "lstm", "upscale": 2},
    "unet": {"name": "unet", "levels": 3, "blocks": 1},
    "unet-x4": {"name": "unet", "levels": 1, "blocks": 1, "upscale": 4},
    "resnet_sr": {"name": "resnet_sr", "blocks": 2},
    "resnet_sr-x2": {"name": "resnet_sr", "blocks": 2, "upscale": 2},
}
# How far each sees at most, as the docstrings of the networks say.
BOUNDS = {"cnn": 8, "crnn": 43, "unet": 56, "resnet_sr": 15, "resnet_sr-x2": 7}
STRIDES = {"cnn": 2, "crnn": 4, "unet": 8, "resnet_sr": 2, "resnet_sr-x2": 1, "unet-x4": 2}


def network(name):
    torch.manual_seed(1)
    built = build_restorer(**NETWORKS[name], **SHAPE)
    for weights in built.parameters():  # the last ones start at zero: they would hide the others
        if not weights.any():
            torch.nn.init.normal_(weights, std=0.1)
    return built.eval().requires_grad_(False)


def restored(name, y_NCHW, **arguments):
    """By a Restorer as it is, and by the network in one pass."""
    built = network(name)
    with torch.inference_mode():
        in_tiles = tiles.Restorer(name, built, 3).restore(y_NCHW, arguments)
        whole_NCHW = built(y_NCHW, **arguments)
    return in_tiles, whole_NCHW.clamp(0, 1).numpy()


@pytest.mark.parametrize("name", BOUNDS)
def test_the_measured_reach_is_within_what_the_architecture_allows(name):
    with torch.inference_mode():
        reach = tiles.measure_reach(network(name), 3, {})
    assert BOUNDS[name] - 8 <= reach.radius <= BOUNDS[name]
    assert reach.stride == STRIDES[name]


@pytest.mark.parametrize("name", BOUNDS)
def test_a_pixel_depends_on_none_beyond_the_reach_and_on_one_at_it(name):
    """By gradients, which know nothing of NaN."""
    built = network(name)
    upscale = built.upscale
    with torch.inference_mode():
        radius = tiles.measure_reach(built, 3, {}).radius
    side = 2 * radius + 33
    farthest = 0
    for at in range(radius + 8, radius + 24):
        y_1CHW = torch.rand(1, 3, side, side, requires_grad=True)
        built(y_1CHW)[0, :, at * upscale, at * upscale].sum().backward()
        rows, columns = y_1CHW.grad[0].abs().amax(dim=0).nonzero(as_tuple=True)
        farthest = max(farthest, int((rows - at).abs().max()), int((columns - at).abs().max()))
    assert farthest <= radius
    assert farthest >= radius - 4  # ReLU may shut the outermost paths


@given(
    name=st.sampled_from(sorted(name for name in NETWORKS if "crnn" not in name)),
    height=st.integers(1, 1100),
    pixels=st.integers(tiles.PASS_PIXELS + 1, 2 * tiles.PASS_PIXELS),
    upright=st.booleans(),
)
@example("cnn", 1, 600_000, False)
@example("unet", 5, 600_000, True)
@settings(max_examples=12, deadline=None)
def test_tiles_equal_one_pass_bit_by_bit(name, height, pixels, upright):
    sides = (height, -(-pixels // height))
    rng = torch.Generator().manual_seed(height)
    y_1CHW = torch.rand(1, 3, *(sides[::-1] if upright else sides), generator=rng)
    in_tiles, whole = restored(name, y_1CHW)
    assert in_tiles.tobytes() == whole.tobytes()


@pytest.mark.parametrize("sides", [(1025, 704), (402, 1722), (37, 27_145)])
def test_a_recurrent_network_may_round_a_few_values_otherwise(sides):
    """Of the last values of a tensor torch takes sigmoid and tanh by other instructions."""
    in_tiles, whole = restored("crnn-lstm-x2", torch.rand(1, 3, *sides))
    assert np.abs(in_tiles - whole).max() <= 2**-23
    assert (in_tiles != whole).sum() < 100


@pytest.mark.parametrize("name", NETWORKS)
def test_a_small_picture_is_restored_in_one_pass(name):
    in_tiles, whole = restored(name, torch.rand(2, 3, 37, 31))
    assert in_tiles.tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", ["cnn-levels", "crnn", "unet", "resnet_sr-x2"])
def test_a_picture_of_1000_x_700_is_cut_and_equal_bit_by_bit(name):
    assert 1000 * 700 > tiles.PASS_PIXELS
    in_tiles, whole = restored(name, torch.rand(1, 3, 700, 1000))
    assert in_tiles.tobytes() == whole.tobytes()


def test_other_iterations_reach_farther():
    in_tiles, whole = restored("crnn", torch.rand(1, 3, 400, 1400), iterations=4)
    assert in_tiles.tobytes() == whole.tobytes()


def test_three_times_as_large_differs_by_less_than_half_a_grey_level(monkeypatch):
    monkeypatch.setitem(NETWORKS, "cnn-x3", {"name": "cnn", "depth": 2, "upscale": 3})
    in_tiles, whole = restored("cnn-x3", torch.rand(1, 3, 700, 800))
    assert np.abs(in_tiles - whole).max() < 1e-4


@given(height=st.integers(1, 600), width=st.integers(1, 40), plain=st.booleans())
@settings(max_examples=30, deadline=None)
def test_noise_is_estimated_as_the_networks_do(height, width, plain):
    rng = torch.Generator().manual_seed(height * 41 + width)
    y_CHW = 0.5 + 0.1 * torch.randn(3, height, width, generator=rng)
    if plain:
        y_CHW[:, : height // 2] = 1
    assert tiles.estimate_sigma(y_CHW) == float(_estimate_sigma(y_CHW[None]))


def test_a_network_that_sees_everything_is_never_cut(monkeypatch):
    monkeypatch.setattr(tiles, "PASS_PIXELS", 16)
    monkeypatch.setitem(NETWORKS, "nafnet", {"name": "nafnet", "levels": 2, "blocks": 1})
    with torch.inference_mode():
        assert tiles.measure_reach(network("nafnet"), 3, {}) is None
    in_tiles, whole = restored("nafnet", torch.rand(1, 3, 41, 50))
    assert in_tiles.tobytes() == whole.tobytes()
    monkeypatch.setattr(tiles, "WHOLE_PIXELS", 2000)
    with pytest.raises(ValueError, match=r"nafnet looks at the whole picture, so 50 x 41 pixels"):
        restored("nafnet", torch.rand(1, 3, 41, 50))
