"""Every generator and discriminator.

Golden parameter count, shapes, range, independence of the batch, and parts.
"""

import ast
import importlib.util
import inspect
import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from atelier.data.store import DatasetInfo
from atelier.losses import gradient_penalty
from atelier.networks.discriminators import DISCRIMINATORS, build_discriminator
from atelier.networks.gans import dcgan, progressive, r3, resnet
from atelier.networks.generators import GENERATORS, build_generator
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained

SHAPE = {"channels": 1, "image_size": 28, "num_classes": 10, "width": 8}
OPTIONS = {
    "dcgan": {},
    "resnet": {"blocks": 1, "attention": True},
    "r3": {"blocks": 2},
    "progressive": {"image_size": 32},  # test_networks_progressive.py has its growth
}
GENERATOR_OPTIONS = {"progressive": {"growth": 0.5}}
SIZES = {name: [16, 20, 28, 32, 36, 64, 128] for name in OPTIONS} | {
    "progressive": [16, 32, 64, 128]
}
FILES = (dcgan, resnet, r3, progressive)
each_network = pytest.mark.parametrize("name", OPTIONS)
both_tables = pytest.mark.parametrize("build", [build_generator, build_discriminator])


def generator_config(name):
    return {**SHAPE, "latent_dim": 16, **OPTIONS[name], **GENERATOR_OPTIONS.get(name, {})}


def generator(name, **changes):
    return build_generator(name, **{**generator_config(name), **changes})


def discriminator(name, **changes):
    return build_discriminator(name, **{**SHAPE, **OPTIONS[name], **changes})


def side_of(name):
    return {**SHAPE, **OPTIONS[name]}["image_size"]


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def randomise(module):
    """Moves every weight and running statistic off its initial value.

    Zero-initialised layers would hide mistakes.
    """
    rng = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = 0.1 * torch.randn(tensor.shape, generator=rng)
            tensor.add_(noise.abs() if name.endswith("running_var") else noise)
    return module


# The sums of the layers' sizes, counted by hand: a change makes registered models of the old shape
# incomparable.
@pytest.mark.parametrize(
    ("module", "golden"),
    [
        (generator("dcgan"), 31_476),
        (discriminator("dcgan"), 22_873),
        (generator("resnet"), 22_205),
        (discriminator("resnet"), 10_618),
        (generator("r3"), 18_452),
        (discriminator("r3"), 17_961),
        (generator("progressive"), 41_500),
        (discriminator("progressive"), 41_281),
    ],
    ids=lambda value: type(value).__name__,
)
def test_golden_parameter_count(module, golden):
    assert num_parameters(module) == golden


def test_every_network_has_a_test_here():
    assert list(GENERATORS) == list(DISCRIMINATORS) == list(OPTIONS)


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in OPTIONS for size in SIZES[name]]
)
@pytest.mark.parametrize(("channels", "num_classes"), [(1, 4), (3, 1)])
def test_shapes_and_range(name, size, channels, num_classes):
    shape = {"channels": channels, "image_size": size, "num_classes": num_classes}
    labels_B = torch.arange(4) % num_classes
    x_BCHW = generator(name, **shape)(torch.randn(4, 16), labels_B)
    assert x_BCHW.shape == (4, channels, size, size)
    assert x_BCHW.abs().max() <= 1
    assert discriminator(name, **shape)(x_BCHW, labels_B).shape == (4,)


@each_network
@pytest.mark.parametrize("size", [12, 30])
def test_sizes_that_cannot_be_made_are_refused(name, size):
    for network in (generator, discriminator):
        with pytest.raises(
            ValueError,
            match=rf"image_size = {size} is not a (multiple of 4|power of two) of at least 16\.$",
        ):
            network(name, image_size=size)


@each_network
def test_generated_image_depends_on_its_latent_and_label_but_not_on_the_batch(name):
    model = randomise(generator(name)).eval()
    z_BZ, labels_B = torch.randn(6, 16), torch.tensor([0, 1, 2, 3, 4, 4])
    x_BCHW = model(z_BZ, labels_B)
    torch.testing.assert_close(model(z_BZ[2:3], labels_B[2:3]), x_BCHW[2:3])
    assert torch.equal(model(z_BZ, labels_B), x_BCHW)
    assert not torch.allclose(model(z_BZ[2:3], labels_B[3:4]), x_BCHW[2:3])
    assert not torch.allclose(x_BCHW[4], x_BCHW[5])


@each_network
def test_logit_depends_on_its_label_but_not_on_the_batch(name):
    model = randomise(discriminator(name)).eval()
    x_BCHW, labels_B = torch.rand(6, 1, side_of(name), side_of(name)), torch.arange(6)
    logits_B = model(x_BCHW, labels_B)
    torch.testing.assert_close(model(x_BCHW[2:3], labels_B[2:3]), logits_B[2:3])
    assert not torch.allclose(model(x_BCHW[2:3], labels_B[3:4]), logits_B[2:3])


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in OPTIONS for size in (side_of(name), 64)]
)
def test_logits_are_of_unit_order_at_the_start(name, size):
    torch.manual_seed(0)
    model, labels_B = discriminator(name, image_size=size, width=32), torch.arange(10)
    for x_BCHW in (
        torch.rand(10, 1, size, size) * 2 - 1,
        F.interpolate(torch.randn(10, 1, 4, 4), size).tanh(),
    ):
        assert 0.05 < model(x_BCHW, labels_B).square().mean().sqrt() < 5


@pytest.mark.parametrize(
    "name", [name for name in OPTIONS if name != "progressive"]
)  # there it depends on the stage
def test_every_parameter_gets_a_gradient(name):
    inputs = {generator(name): (torch.randn(10, 16), torch.arange(10))}
    inputs[discriminator(name)] = (torch.rand(10, 1, 28, 28), torch.arange(10))
    for module, arguments in inputs.items():
        output = randomise(module).train()(*arguments)
        (output * torch.randn(output.shape)).sum().backward()
        assert [
            key for key, p in module.named_parameters() if p.grad is None or not p.grad.abs().any()
        ] == []


@each_network
def test_a_gradient_penalty_trains_the_discriminator_as_finite_differences_say(name):
    model, labels_B = randomise(discriminator(name)).double().eval(), torch.arange(3)
    x_BCHW = torch.rand(3, 1, side_of(name), side_of(name), dtype=torch.float64, requires_grad=True)
    weight = [p for p in model.parameters() if p.dim() == 4][-1 if name == "progressive" else 0]
    direction = torch.randn(
        weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )

    def penalty():
        return gradient_penalty(model(x_BCHW, labels_B), x_BCHW).sum()

    (slope,) = torch.autograd.grad(penalty(), weight)
    values = []
    for move in (1e-6, -2e-6):
        weight.data.add_(direction, alpha=move)
        values.append(penalty().item())
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(
        (slope * direction).sum().item(), rel=1e-3
    )


@pytest.mark.parametrize(
    "part",
    ["_feature_sizes", "_double", "ConditionalBatchNorm", "PlainResidualBlock", "ProjectionHead"],
)
def test_what_files_have_in_common_is_equal(part):
    assert (
        len({inspect.getsource(getattr(file, part)) for file in FILES if hasattr(file, part)}) == 1
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.__name__)
def test_a_file_imports_the_standard_library_and_torch_alone(file):
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(file))):
        found |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        found |= {node.module or "."} if isinstance(node, ast.ImportFrom) else set()
    assert {name.split(".")[0] for name in found} <= {*sys.stdlib_module_names, "torch"}


@each_network
def test_a_bundle_builds_the_generator_again_from_its_own_source(name, tmp_path):
    config = generator_config(name)
    model = randomise(generator(name)).eval()
    info = DatasetInfo(side_of(name), 1, 10, tuple("abcdefghij"), {})
    write_bundle(tmp_path / "bundle", "gan", Trained(model, {"name": name, **config}, 0), info)
    spec = importlib.util.spec_from_file_location("stored", tmp_path / "bundle" / "network.py")
    stored = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stored)
    builder = json.loads((tmp_path / "bundle" / "config.json").read_text(encoding="utf-8"))[
        "builder"
    ]
    rebuilt = getattr(stored, builder)(**config).eval()
    rebuilt.load_state_dict(load_file(Path(tmp_path) / "bundle" / "weights.safetensors"))
    z_BZ, labels_B = torch.randn(3, 16), torch.arange(3)
    assert torch.equal(rebuilt(z_BZ, labels_B), model(z_BZ, labels_B))


# -- resnet ------------------------------------------------------------------------------------


def test_attention_starts_as_the_identity_and_is_scaled_dot_products():
    layer, maps_BFhw = resnet.SelfAttention(16), torch.randn(2, 16, 5, 4)
    assert torch.equal(layer(maps_BFhw), maps_BFhw)
    layer.gamma.data.fill_(0.5)
    query_BND, key_BND, value_BND = (
        layer.to_qkv(maps_BFhw).flatten(2).transpose(1, 2).split([2, 2, 8], dim=2)
    )
    gathered_BND = F.scaled_dot_product_attention(query_BND, key_BND, value_BND, scale=1.0)
    gathered_BFhw = layer.to_maps(gathered_BND.transpose(1, 2).unflatten(2, (5, 4)))
    torch.testing.assert_close(layer(maps_BFhw), maps_BFhw + 0.5 * gathered_BFhw)


@both_tables
def test_attention_and_blocks_are_optional(build):
    latent = {"latent_dim": 16} if build is build_generator else {}
    sizes = [
        num_parameters(build("resnet", **SHAPE, **latent, blocks=blocks, attention=attention))
        for blocks, attention in [(1, False), (1, True), (2, False)]
    ]
    assert sizes[1] - sizes[0] == 8 * 6 + 4 * 8 + 1
    assert sizes[2] > sizes[0]


def test_spectral_norm_holds_every_weight_of_the_discriminator_at_one():
    model = randomise(discriminator("resnet")).train()
    for _ in range(100):  # one step of the power iteration each
        model(torch.rand(1, 1, 28, 28), torch.zeros(1, dtype=torch.int64))
    layers = [
        m
        for m in model.modules()
        if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.Embedding))
    ]
    assert len(layers) == 10
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
            1, abs=0.01
        )


def test_the_class_acts_through_the_normalisation_alone():
    model = generator("resnet").eval()  # gains one and biases zero: the class has no say yet
    z_BZ = torch.randn(1, 16).expand(2, -1)
    one, other = model(z_BZ, torch.tensor([0, 1]))
    assert torch.equal(one, other)
    next(m for m in model.modules() if isinstance(m, resnet.ConditionalBatchNorm)).gain.weight.data[
        1
    ] = 2
    assert not torch.allclose(*model(z_BZ, torch.tensor([0, 1])))


# -- r3 ----------------------------------------------------------------------------------------


def test_r3_blocks_start_as_the_identity_and_keep_nothing_between_batches():
    block, maps_BFhw = r3.PlainResidualBlock(24, num_blocks=4), torch.randn(2, 24, 5, 4)
    assert torch.equal(block(maps_BFhw), maps_BFhw)
    for network in (generator("r3"), discriminator("r3")):
        assert list(network.buffers()) == []


def test_r3_convolves_groups_of_sixteen_maps_or_fewer():
    groups = [r3.PlainResidualBlock(maps, num_blocks=1).mix.groups for maps in (4, 8, 24, 32, 5)]
    assert groups == [1, 1, 3, 4, 5]


def test_r3_scales_its_first_convolutions_with_the_number_of_blocks():
    """Fixup: num_blocks^(-1/(2m-2)) of He's standard deviation, m = 3 convolutions in a block."""
    torch.manual_seed(0)
    for num_blocks in (1, 16):
        block = r3.PlainResidualBlock(256, num_blocks)
        he = (2 / (1 + 0.2**2)) ** 0.5
        assert block.expand.weight.std().item() == pytest.approx(
            he / 256**0.5 * num_blocks**-0.25, rel=0.02
        )
        assert block.mix.weight.std().item() == pytest.approx(
            he / (16 * 9) ** 0.5 * num_blocks**-0.25, rel=0.02
        )
