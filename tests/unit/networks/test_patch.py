"""The patch discriminator: golden parameter count, shapes, what a logit sees, bounds, gradients."""

import ast
import inspect

import pytest
import torch

from atelier.networks.gans import patch
from atelier.networks.gans.patch import PatchDiscriminator


def discriminator(layers=2, channels=2, width=8):
    torch.manual_seed(0)
    return PatchDiscriminator(channels, width, layers)


def images(*shape, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype) * 2 - 1


# The sums of the layers' sizes, counted by hand.
@pytest.mark.parametrize(
    ("layers", "golden"), [(1, 584 + 1_168 + 145), (2, 584 + 1_168 + 4_640 + 289)]
)
def test_golden_parameter_count(layers, golden):
    assert sum(parameter.numel() for parameter in discriminator(layers).parameters()) == golden


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("size", [(28, 28), (37, 31), (3, 1)])
@pytest.mark.parametrize("channels", [1, 6])
def test_there_is_a_logit_for_each_patch_of_any_image(layers, size, channels):
    logits_B1hw = discriminator(layers, channels)(images(3, channels, *size))
    assert logits_B1hw.shape == (3, 1, *(-(-side // 2 ** (layers + 1)) for side in size))


@pytest.mark.parametrize(("layers", "side"), [(1, 18), (2, 34), (3, 66)])
def test_a_logit_sees_a_patch_of_the_stated_size_and_nothing_else(layers, side):
    model = discriminator(layers).double().eval()
    x_BCHW = images(1, 2, 160, 160, dtype=torch.float64).requires_grad_()
    logits_11hw = model(x_BCHW)
    middle = logits_11hw.shape[-1] // 2
    (slope_BCHW,) = torch.autograd.grad(logits_11hw[0, 0, middle, middle], x_BCHW)
    rows_N, columns_N = slope_BCHW[0, 0].nonzero(as_tuple=True)
    assert (
        int(rows_N.max() - rows_N.min()) + 1 == int(columns_N.max() - columns_N.min()) + 1 == side
    )


def test_an_odd_image_equals_its_replicated_padding():
    model, x_BCHW = discriminator().eval(), images(1, 2, 37, 31)
    padded_BCHW = torch.nn.functional.pad(x_BCHW, (0, 1, 0, 1), mode="replicate")
    assert torch.equal(model(x_BCHW), model(padded_BCHW))


def test_logits_depend_on_their_own_image_alone():
    model, x_BCHW = discriminator().eval(), images(4, 2, 37, 31)
    torch.testing.assert_close(model(x_BCHW)[2:3], model(x_BCHW[2:3]))
    assert not torch.allclose(model(x_BCHW)[1], model(x_BCHW)[2])


def test_no_weight_stretches_its_input_by_more_than_one():
    model = discriminator()
    for weight in model.parameters():
        weight.data.mul_(50)
    for _ in range(30):  # one step of the power iteration a pass
        model(images(2, 2, 28, 28))
    for layer in [layer for layer in model.eval().body if hasattr(layer, "weight")]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
            1, abs=0.02
        )


def test_every_parameter_gets_a_gradient():
    model = discriminator()
    logits_B1hw = model(images(2, 2, 37, 31))
    (logits_B1hw * torch.randn(logits_B1hw.shape)).sum().backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()
    ] == []


def test_its_file_needs_torch_alone():
    nodes = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(patch)))
        if isinstance(node, ast.ImportFrom)
    ]
    assert {node.module.split(".")[0] for node in nodes} == {"torch"}
