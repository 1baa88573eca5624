"""Growth of the two progressive networks: what they compute, and what they learn, at each stage."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from atelier.data.store import DatasetInfo
from atelier.losses import gradient_penalty
from atelier.networks.gans.progressive import (
    PixelNorm,
    ProgressiveDiscriminator,
    ProgressiveGenerator,
)
from atelier.params import Training
from atelier.serving.bundle import write_bundle
from atelier.training.ema import averaged_copy, averaging
from atelier.training.session import Trained

STAGES = (0.0, 0.5, 1.0, 1.25, 2.0)  # of 32 pixels: 8, 16, 32
each_stage = pytest.mark.parametrize("stage", STAGES)


@pytest.fixture
def networks():
    """`networks(stage)`: both networks of 32 pixels, the same weights at every call."""
    return make


def make(stage, channels=1, image_size=32):
    torch.manual_seed(0)
    G = ProgressiveGenerator(channels, image_size, num_classes=4, latent_dim=8, width=4, growth=0.5)
    D = ProgressiveDiscriminator(channels, image_size, num_classes=4, width=4)
    for weight in (*G.parameters(), *D.parameters()):
        weight.data.add_(0.05 * torch.randn(weight.shape))
    G.stage = D.stage = stage
    return G, D


def drawn(G, stage=None):
    G.stage = G.stage if stage is None else stage
    return G(torch.randn(4, 8, generator=torch.Generator().manual_seed(1)), torch.arange(4))


def judged(D, stage=None):
    D.stage = D.stage if stage is None else stage
    rng = torch.Generator().manual_seed(2)
    return D(
        torch.rand(4, D.from_images[0].in_channels // 4, 32, 32, generator=rng) * 2 - 1,
        torch.arange(4),
    )


def resolution(x_BCHW):
    """Pixels a side of the smallest image that enlarges to this one."""
    size = x_BCHW.shape[-1]
    sides = [
        size // 2**n
        for n in range(6)
        if torch.equal(F.interpolate(x_BCHW[..., :: 2**n, :: 2**n], size), x_BCHW)
    ]
    return sides[-1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("image_size", "stages"), [(16, (0, 0.3, 1)), (32, STAGES), (64, (0, 2.75, 3)), (128, (4,))]
)
def test_images_have_their_full_size_at_every_stage(channels, image_size, stages):
    for stage in stages:
        G, D = make(stage, channels, image_size)
        x_BCHW = drawn(G)
        assert x_BCHW.shape == (4, channels, image_size, image_size)
        assert x_BCHW.abs().max() <= 1
        assert resolution(x_BCHW) == 8 * 2 ** math.ceil(stage)
        assert D(x_BCHW, torch.arange(4)).shape == (4,)


@each_stage
def test_the_discriminator_sees_nothing_finer_than_its_stage(networks, stage):
    _, D = networks(stage)
    cell = 32 // (8 * 2 ** math.ceil(stage))
    x_BCHW, labels_B = torch.rand(4, 1, 32, 32), torch.arange(4)
    mean_BCHW = F.interpolate(F.avg_pool2d(x_BCHW, cell), 32)
    torch.testing.assert_close(D(mean_BCHW, labels_B), D(x_BCHW, labels_B))
    coarser_BCHW = F.interpolate(F.avg_pool2d(x_BCHW, 2 * cell), 32)
    assert not torch.allclose(D(coarser_BCHW, labels_B), D(x_BCHW, labels_B))


def test_a_new_network_is_complete():
    G, D = ProgressiveGenerator(1, 64, 4, 8, 4, 0.5), ProgressiveDiscriminator(1, 64, 4, 4)
    assert G.stage == D.stage == G.doublings == 3
    assert resolution(drawn(G)) == 32  # new sub-pixels are equal


def test_fading_in_is_a_linear_blend_of_two_resolutions(networks):
    G, _ = networks(1.25)
    blend_BCHW = 0.75 * drawn(G, 1.0) + 0.25 * drawn(G, 2.0)
    torch.testing.assert_close(drawn(G, 1.25), blend_BCHW)


@pytest.mark.parametrize("whole", [1.0, 2.0])
def test_nothing_jumps_where_a_stage_ends(networks, whole):
    G, D = networks(whole)
    for output in (drawn, judged):
        network = G if output is drawn else D
        at, below = output(network, whole), output(network, whole - 1e-6)
        torch.testing.assert_close(below, at, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(output(network, whole - 0.5), at, rtol=1e-2, atol=1e-3)
    if whole == 1.0:
        torch.testing.assert_close(judged(D, 1 + 1e-6), judged(D, 1.0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(drawn(G, 1 + 1e-6), drawn(G, 1.0), rtol=1e-4, atol=1e-5)


def parts_with_gradient(network, output):
    (output * torch.randn(output.shape)).sum().backward()
    moved = {
        name: p.grad is not None and p.grad.abs().any().item()
        for name, p in network.named_parameters()
    }
    parts = {
        ".".join(name.split(".")[: 2 if name.split(".")[1].isdigit() else 1]) for name in moved
    }
    found = {
        part: {moved[name] for name in moved if f"{name}.".startswith(f"{part}.")} for part in parts
    }
    assert all(len(answers) == 1 for answers in found.values())
    return {part for part, (answer,) in found.items() if answer}


@each_stage
def test_only_the_layers_of_the_stage_get_a_gradient(networks, stage):
    G, D = networks(stage)
    finest, reached = math.ceil(stage), math.floor(stage)
    blocks = {f"blocks.{level}" for level in range(finest + 1)}
    assert parts_with_gradient(G, drawn(G)) == {
        *("embed", "project", f"to_images.{reached}", f"to_images.{finest}"),
        *blocks,
    }
    last = {"last.0", "last.3", "head"}
    blocks = {f"blocks.{level}" for level in range(finest)}
    assert parts_with_gradient(D, judged(D)) == {
        *last,
        f"from_images.{reached}",
        f"from_images.{finest}",
        *blocks,
    }


def test_adam_does_not_move_layers_that_have_not_grown(networks):
    G, _ = networks(0.0)
    before = {name: weight.detach().clone() for name, weight in G.named_parameters()}
    optimizer = torch.optim.Adam(G.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        drawn(G).square().sum().backward()
        optimizer.step()
    moved = {name for name, weight in G.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {
        name for name in before if name.startswith(("embed", "project", "blocks.0", "to_images.0"))
    }


def test_the_stage_is_no_part_of_the_weights(networks):
    (G, D), (complete, _) = networks(0.5), networks(2.0)
    assert not any("stage" in name for network in (G, D) for name in network.state_dict())
    complete.load_state_dict(G.state_dict())
    assert complete.stage == 2.0


def test_an_average_is_taken_of_all_layers_and_drawn_at_its_own_stage(networks):
    G, _ = networks(0.5)
    average = averaged_copy(G)
    assert average.stage == 0.5
    with torch.no_grad():
        for weight in G.parameters():
            weight.mul_(3)
    training = Training(kimg=1.0, batch_size=16, lr=0.1, ema_halflife_kimg=0.016)
    averaging(average, G, training)(10**9)
    for kept, new in zip(average.parameters(), G.parameters(), strict=True):
        torch.testing.assert_close(kept, new * 2 / 3)
    average.stage = 2.0
    assert (resolution(drawn(G)), resolution(drawn(average))) == (16, 32)


def test_a_stored_network_is_complete_whatever_its_stage_was(networks, tmp_path):
    G, _ = networks(0.5)
    config = {
        "channels": 1,
        "image_size": 32,
        "num_classes": 4,
        "latent_dim": 8,
        "width": 4,
        "growth": 0.5,
    }
    trained = Trained(G.eval(), {"name": "progressive", **config}, 0)
    write_bundle(tmp_path / "bundle", "gan", trained, DatasetInfo(32, 1, 4, tuple("abcd"), {}))
    stored = json.loads((tmp_path / "bundle" / "config.json").read_text(encoding="utf-8"))[
        "network"
    ]
    served = ProgressiveGenerator(**{key: value for key, value in stored.items() if key != "name"})
    served.load_state_dict(load_file(tmp_path / "bundle" / "weights.safetensors"))
    assert resolution(drawn(served)) == 32
    assert torch.equal(drawn(served), drawn(G, 2.0))


@each_stage
def test_the_penalty_of_a_mean_of_n_pixels_is_an_nth_of_its_own(networks, stage):
    _, D = networks(stage)
    n = 4 ** (2 - math.ceil(stage))
    labels_B = torch.arange(4)
    x_BCHW = torch.rand(4, 1, 32, 32, requires_grad=True)
    mean_BCHW = F.avg_pool2d(x_BCHW, math.isqrt(n)).detach().requires_grad_(True)
    enlarged_BCHW = F.interpolate(mean_BCHW, 32)
    full_B = gradient_penalty(D(x_BCHW, labels_B), x_BCHW)
    torch.testing.assert_close(n * full_B, gradient_penalty(D(enlarged_BCHW, labels_B), mean_BCHW))


def test_pixels_are_normalised_to_mean_square_one_each_on_its_own():
    maps_BFhw = torch.randn(2, 6, 3, 5) * torch.rand(2, 1, 3, 5) * 10
    normal_BFhw = PixelNorm()(maps_BFhw)
    torch.testing.assert_close(
        normal_BFhw.square().mean(dim=1), torch.ones(2, 3, 5), rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(
        F.cosine_similarity(normal_BFhw, maps_BFhw, dim=1), torch.ones(2, 3, 5)
    )
    torch.testing.assert_close(PixelNorm()(maps_BFhw[:1, :, :1]), normal_BFhw[:1, :, :1])


def test_a_new_doubling_leaves_no_checkerboard():
    torch.manual_seed(0)
    double, flat_BFhw = (
        ProgressiveGenerator(1, 32, 4, 8, 4, 0.5).blocks[1][0],
        torch.ones(1, 16, 5, 5),
    )
    inner_BFhw = double(flat_BFhw)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inner_BFhw, inner_BFhw[:, :, :1, :1].expand_as(inner_BFhw))
    # Nearest neighbours double a kernel's rows and columns with (1, 1), so alternating sums are
    # zero along both.
    signs_4 = torch.tensor([1.0, -1.0, 1.0, -1.0])
    for alternating in (double.weight @ signs_4, signs_4 @ double.weight):
        torch.testing.assert_close(alternating, torch.zeros_like(alternating))


def test_new_sub_pixels_are_equal():
    torch.manual_seed(0)
    G = ProgressiveGenerator(3, 32, 4, 8, 4, 0.5)
    for stage in (0.0, 1.0, 2.0):
        assert resolution(drawn(G, stage)) == 4 * 2**stage


def test_the_class_acts_beside_the_latent(networks):
    G, _ = networks(2.0)
    z_BZ = torch.randn(1, 8).expand(2, -1)
    one, other = G(z_BZ, torch.tensor([0, 1]))
    assert not torch.allclose(one, other, atol=1e-2)
    torch.testing.assert_close(
        G(3 * z_BZ, torch.tensor([0, 1])), torch.stack([one, other])
    )  # latents on a sphere
