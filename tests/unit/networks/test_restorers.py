"""Every restorer of the build table.

Golden parameter count, shapes, where it starts, what it sees, and noise level.
"""

import ast
import importlib
import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from atelier.networks.restorers import (
    RESTORERS,
    CrnnRestorer,
    build_restorer,
    cnn,
    crnn,
    resnet_sr,
    unet,
)

# Configuration -> golden number of parameters, the sum of the layers' sizes counted by hand.
CONFIGS = {
    "cnn": ({"name": "cnn", "width": 8, "depth": 4}, 2_916),
    "crnn": ({"name": "crnn", "width": 8, "iterations": 3}, 22_876),
    "crnn, lstm": ({"name": "crnn", "width": 8, "iterations": 3, "cell": "lstm"}, 27_500),
    "unet": ({"name": "unet", "width": 8, "levels": 3, "blocks": 1}, 37_028),
    "nafnet": ({"name": "nafnet", "width": 8, "levels": 3, "blocks": 1}, 21_204),
    "resnet_sr": ({"name": "resnet_sr", "width": 8, "blocks": 2}, 4_668),
}
MULTIPLES = {"cnn": 2, "crnn": 4, "crnn, lstm": 4, "unet": 8, "nafnet": 8, "resnet_sr": 2}
# Pixels to each side, as the docstrings state them.
REACH = {
    "cnn": 2 * 4 + 2,
    "crnn": 20 * 3 + 3,
    "crnn, lstm": 16 * 3 + 3,
    "unet": (6 + 1) * 8 - 1,
    "resnet_sr": 2 * 7 + 1,
}


def build(key, channels=3, **kwargs):
    return build_restorer(**CONFIGS[key][0], channels=channels, **kwargs)


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def randomise(module):
    """Moves every weight off its initial value, as layers that start at zero would hide mistakes.

    In float64, so that kernels which add up in another order differ by nothing that counts.
    """
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return module.double().eval()


def randomised(key, channels=3, **kwargs):
    return randomise(build(key, channels, **kwargs))


def rand(*shape, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def smooth(height, width):
    """A picture without noise: a ramp and a bright disc."""
    y_H1, x_W = torch.arange(height)[:, None], torch.arange(width)
    disc_HW = (y_H1 - height / 2) ** 2 + (x_W - width / 2) ** 2 < (height / 4) ** 2
    return (0.3 + 0.3 * x_W / width + 0.3 * disc_HW).expand(1, 1, height, width)


def test_every_restorer_has_a_test_here():
    assert {config["name"] for config, _ in CONFIGS.values()} == set(RESTORERS)


@pytest.mark.parametrize("key", CONFIGS)
def test_golden_parameter_count(key):
    assert num_parameters(build(key)) == CONFIGS[key][1]


@pytest.mark.parametrize("size", [(37, 31), (28, 28), (5, 3), (1, 1)])
@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
@pytest.mark.parametrize("key", CONFIGS)
def test_every_size_is_restored_and_the_last_estimate_is_the_result(key, upscale, size):
    for channels, noise_level in ((1, True), (3, False)):
        model = randomised(key, channels, upscale=upscale, noise_level=noise_level)
        y_BCHW = rand(2, channels, *size)
        x_hat_BCHW = model(y_BCHW)
        assert x_hat_BCHW.shape == (2, channels, size[0] * upscale, size[1] * upscale)
        assert torch.equal(model.estimates(y_BCHW)[-1], x_hat_BCHW)


@pytest.mark.parametrize("noise_level", [False, True])
@pytest.mark.parametrize("key", CONFIGS)
def test_a_restorer_starts_as_the_identity(key, noise_level):
    y_BCHW = 3 * rand(2, 3, 37, 31, dtype=torch.float32) - 1
    assert torch.equal(build(key, noise_level=noise_level)(y_BCHW), y_BCHW)


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize("key", CONFIGS)
def test_super_resolution_starts_as_bicubic(key, upscale):
    y_BCHW = rand(2, 1, 19, 15, dtype=torch.float32)
    bicubic_BCHW = F.interpolate(y_BCHW, scale_factor=upscale, mode="bicubic", align_corners=False)
    torch.testing.assert_close(build(key, 1, upscale=upscale)(y_BCHW), bicubic_BCHW)


@pytest.mark.parametrize("key", MULTIPLES)
def test_an_odd_image_equals_its_replicated_padding(key):
    model, multiple = randomised(key), MULTIPLES[key]
    y_BCHW = rand(1, 3, 37, 31)
    padded_BCHW = F.pad(y_BCHW, (0, -31 % multiple, 0, -37 % multiple), mode="replicate")
    torch.testing.assert_close(model(y_BCHW), model(padded_BCHW)[..., :37, :31])


@pytest.mark.parametrize("noise_level", [False, True])
@pytest.mark.parametrize("key", CONFIGS)
def test_a_result_depends_on_its_own_image_alone(key, noise_level):
    model = randomised(key, noise_level=noise_level)
    y_BCHW = rand(4, 3, 37, 31)
    torch.testing.assert_close(model(y_BCHW)[2:3], model(y_BCHW[2:3]))
    assert not torch.allclose(model(y_BCHW)[2], model(y_BCHW)[1])


@pytest.mark.parametrize("key", CONFIGS)
def test_the_layout_in_memory_changes_nothing(key):
    model = randomised(key, noise_level=True)
    y_BCHW = rand(2, 3, 37, 31)
    expected_BCHW = model(y_BCHW)
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        model(y_BCHW.contiguous(memory_format=torch.channels_last)), expected_BCHW
    )


@pytest.mark.parametrize("key", REACH)
def test_a_pixel_changes_nothing_beyond_the_stated_reach(key):
    side, reach = 160, REACH[key]
    model = randomised(key, 1)
    y_BCHW = rand(1, 1, side, side)
    for row, column in (
        (80, 80),
        (77, 83),
    ):  # at the edge, and inside, of the cells at the lower resolutions
        changed_BCHW = y_BCHW.clone()
        changed_BCHW[..., row, column] += 1
        rows_N, columns_N = (model(changed_BCHW) != model(y_BCHW))[0, 0].nonzero(as_tuple=True)
        found = max((rows_N - row).abs().max(), (columns_N - column).abs().max())
        assert reach / 2 < found <= reach


def test_the_attention_of_nafnet_sees_the_whole_picture():
    model = randomised("nafnet")
    y_BCHW = rand(1, 3, 160, 160)
    changed_BCHW = y_BCHW.clone()
    changed_BCHW[..., :8, :8] = 0
    assert not torch.equal(model(changed_BCHW)[..., -8:, -8:], model(y_BCHW)[..., -8:, -8:])


@pytest.mark.parametrize("key", ["unet", "nafnet"])
def test_the_skips_carry_the_picture_where_nothing_comes_from_below(key):
    model, y_BCHW = randomised(key), rand(2, 3, 16, 16)
    for up in model.ups:
        up.weight.data.zero_()
    learnt_BCHW = model(y_BCHW) - y_BCHW
    assert not torch.allclose(learnt_BCHW[0], learnt_BCHW[1], rtol=0.1)


@pytest.mark.parametrize("upscale", [1, 3])
@pytest.mark.parametrize("key", CONFIGS)
def test_every_parameter_gets_a_gradient(key, upscale):
    model = randomised(key, upscale=upscale, noise_level=True)
    x_hat_BCHW = model(rand(2, 3, 37, 31), sigma=0.1)
    (x_hat_BCHW * torch.randn(x_hat_BCHW.shape)).sum().backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()
    ] == []


@pytest.mark.parametrize("key", CONFIGS)
def test_twelve_steps_from_the_start_move_every_parameter(key):
    """Zero-initialised layers must not hold each other at zero."""
    torch.manual_seed(0)
    model = build(key, 1)
    start = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x_BCHW = smooth(24, 24).expand(4, -1, -1, -1)
    losses = []
    for step in range(12):
        y_BCHW = x_BCHW + 0.2 * torch.randn(
            x_BCHW.shape, generator=torch.Generator().manual_seed(step)
        )
        loss = (model(y_BCHW) - x_BCHW).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert [
        name for name, parameter in model.named_parameters() if torch.equal(parameter, start[name])
    ] == []


# -- recurrence --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["crnn", "crnn, lstm"])
def test_iterations_are_chosen_at_run_time_and_are_a_prefix(key):
    model = randomised(key)
    y_BCHW = rand(2, 3, 37, 31)
    estimates = model.estimates(y_BCHW, iterations=5)
    assert len(estimates) == 5
    assert len(model.estimates(y_BCHW)) == 3
    assert torch.equal(model(y_BCHW, iterations=2), estimates[1])
    assert torch.equal(model(y_BCHW), estimates[2])
    assert not torch.allclose(estimates[1], estimates[0])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_iterations_share_their_weights(cell):
    one, nine = (CrnnRestorer(1, 8, iterations=count, cell=cell) for count in (1, 9))
    assert num_parameters(one) == num_parameters(nine)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_state_carries_memory(cell):
    model = randomise(CrnnRestorer(1, 8, iterations=1, cell=cell))
    y_BCHW = rand(1, 1, 16, 16)
    x_hat_BCHW, state = model._step(y_BCHW, y_BCHW, None)
    with_memory_BCHW, _ = model._step(y_BCHW, x_hat_BCHW, state)
    without_memory_BCHW, _ = model._step(y_BCHW, x_hat_BCHW, None)
    assert not torch.allclose(with_memory_BCHW, without_memory_BCHW)


def test_the_first_weights_and_draws_of_a_gru_are_what_they_were_before_there_was_a_choice():
    torch.manual_seed(0)
    model = CrnnRestorer(1, 4, iterations=1)
    assert list(model.cell.state_dict()) == [
        "gates.weight",
        "gates.bias",
        "candidate.weight",
        "candidate.bias",
    ]
    assert model.cell.gates.weight[0, 0, 0, 0].item() == pytest.approx(0.03458666, abs=1e-7)
    assert torch.rand(1).item() == pytest.approx(0.74836171, abs=1e-7)


# -- noise level -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", CONFIGS)
def test_the_noise_level_changes_the_result_of_its_image_alone(key):
    model = randomised(key, noise_level=True)
    y_BCHW = rand(3, 3, 37, 31)
    one_each_B = torch.tensor([0.1, 0.5, 0.1], dtype=torch.float64)
    low_BCHW, mixed_BCHW = model(y_BCHW, sigma=0.1), model(y_BCHW, sigma=one_each_B)
    assert torch.equal(mixed_BCHW[[0, 2]], low_BCHW[[0, 2]])
    assert (mixed_BCHW[1] - low_BCHW[1]).abs().max() > 1e-3


@pytest.mark.parametrize("key", CONFIGS)
def test_an_absent_noise_level_is_estimated_and_an_unwanted_one_refused(key):
    y_BCHW = rand(3, 3, 37, 31)
    model = randomised(key, noise_level=True)
    estimated_B = cnn._estimate_sigma(y_BCHW)
    assert torch.equal(model(y_BCHW), model(y_BCHW, sigma=estimated_B))
    with pytest.raises(ValueError, match="built without noise_level"):
        randomised(key)(y_BCHW, sigma=0.1)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.2])
def test_noise_is_estimated_within_ten_percent(sigma):
    noise_BCHW = torch.randn(8, 1, 128, 96, generator=torch.Generator().manual_seed(0))
    estimated_B = cnn._estimate_sigma(smooth(128, 96) + sigma * noise_BCHW)
    torch.testing.assert_close(estimated_B, torch.full((8,), sigma), rtol=0.1, atol=0)


def test_a_picture_without_noise_has_none():
    assert cnn._estimate_sigma(smooth(64, 64)).item() < 1e-6
    assert cnn._estimate_sigma(torch.ones(2, 3, 1, 40)).tolist() == [0, 0]


def median_of_all_details(y_BCHW):
    detail_BN = y_BCHW.diff(dim=-2).diff(dim=-1).abs().flatten(1)
    return detail_BN.sort(dim=1).values[:, detail_BN.shape[1] // 2] / (2 * 0.6745)


@given(
    sigma=st.floats(0.01, 0.5),
    height=st.integers(2, 60),
    width=st.integers(2, 60),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_noise_of_a_picture_without_plain_parts_is_the_median_of_all(
    sigma, height, width, channels, seed
):
    y_BCHW = sigma * torch.randn(
        2, channels, height, width, generator=torch.Generator().manual_seed(seed)
    )
    assert torch.equal(cnn._estimate_sigma(y_BCHW), median_of_all_details(y_BCHW))


@given(
    sigma=st.floats(0.01, 0.2),
    margins=st.lists(st.integers(0, 150), min_size=4, max_size=4),
    level=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
def test_a_plain_margin_does_not_change_the_noise_of_a_picture(sigma, margins, level, seed):
    noise_BCHW = torch.randn(1, 1, 90, 70, generator=torch.Generator().manual_seed(seed))
    photo_BCHW = smooth(90, 70) + sigma * noise_BCHW
    sheet_BCHW = F.pad(photo_BCHW, margins, value=level)
    found = cnn._estimate_sigma(sheet_BCHW).item()
    assert found == pytest.approx(cnn._estimate_sigma(photo_BCHW).item(), rel=0.1)


@given(cells=st.integers(2, 5), seed=st.integers(0, 99))
def test_edges_of_a_drawing_are_no_noise(cells, seed):
    levels_BCHW = torch.rand(1, 1, cells, cells, generator=torch.Generator().manual_seed(seed))
    drawing_BCHW = levels_BCHW.repeat_interleave(24, dim=-1).repeat_interleave(24, dim=-2)
    assert cnn._estimate_sigma(drawing_BCHW).item() < 1e-6


# -- files that are stored with a model --------------------------------------------------------


HELPERS = {
    "_pad_to_multiple",
    "_upsample",
    "_estimate_sigma",
    "_noisy_parts",
    "_noise_level",
    "_append_level",
    "_conv3",
}


@pytest.mark.parametrize(
    ("one", "other", "repeated"),
    [
        (cnn, crnn, HELPERS),
        (cnn, unet, HELPERS),
        (resnet_sr, unet, {*HELPERS, "ResidualBlock"}),
    ],
)
def test_what_the_files_repeat_is_equal(one, other, repeated):
    def definitions(module):
        nodes = ast.parse(inspect.getsource(module)).body
        kinds = ast.FunctionDef, ast.ClassDef
        return {node.name: ast.unparse(node) for node in nodes if isinstance(node, kinds)}

    ours = definitions(one)
    theirs = definitions(other)
    assert ours.keys() & theirs.keys() == repeated
    assert {name for name in repeated if ours[name] != theirs[name]} == set()


@pytest.mark.parametrize("module", sorted({network.__module__ for network in RESTORERS.values()}))
def test_a_restorers_file_needs_torch_alone(module):
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {
        name
        for node in imports
        for name in ([node.module] if hasattr(node, "module") else [a.name for a in node.names])
    }
    assert {name.split(".")[0] for name in names} == {"torch"}
