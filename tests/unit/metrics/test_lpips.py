"""LPIPS by weights that are given: what the network sees, what is refused.

A scripted stand-in measures.
"""

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from atelier.errors import EvaluationError
from atelier.metrics.lpips import load_lpips
from atelier.metrics.pixel_protocol import PixelProtocol
from atelier.metrics.pixels import fidelity_N, restoration_scores

CPU = torch.device("cpu")


class Distance(nn.Module):
    """A stand-in: mean squared difference of edges, and how far the first image is below -1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[-1.0, 1.0]]).expand(3, 1, 1, 2).clone())

    def forward(self, a_NCHW: torch.Tensor, b_NCHW: torch.Tensor) -> torch.Tensor:
        """Distances, N111, as the published code gives them."""
        edges = nn.functional.conv2d(a_NCHW - b_NCHW, self.weight, groups=3)
        return edges.square().mean(dim=(1, 2, 3), keepdim=True) + (-1 - a_NCHW).clamp(min=0).amax()


class Pooled(Distance):
    """One number for all pairs."""

    def forward(self, a_NCHW: torch.Tensor, b_NCHW: torch.Tensor) -> torch.Tensor:
        """A scalar."""
        return (a_NCHW - b_NCHW).square().mean()


@pytest.fixture
def saved(tmp_path):
    """`saved(module)` writes a TorchScript file and gives its path and sha256."""

    def save(module):
        path = tmp_path / "lpips.pt"
        torch.jit.save(torch.jit.script(module), path)
        return path, hashlib.sha256(path.read_bytes()).hexdigest()

    return save


def images(channels=3, num_images=4, height=31, width=37):
    rng = np.random.default_rng(0)
    x = rng.random((num_images, channels, height, width), dtype=np.float32)
    noise = rng.normal(0, 0.1, x.shape) * np.arange(num_images)[:, None, None, None]
    return (x + noise).astype(np.float32), x


def test_each_pair_has_the_distance_that_the_network_gives_it_in_minus_one_to_one(saved):
    lpips = load_lpips(*saved(Distance()), CPU)
    x_hat, x = images()
    found = fidelity_N(x_hat, x, PixelProtocol(lpips=lpips))["lpips"]
    difference = 2 * (x_hat.clip(0, 1) - x)
    expected = np.square(np.diff(difference, axis=3)).mean(axis=(1, 2, 3))
    assert found == pytest.approx(expected, rel=1e-5)
    assert found[0] == 0 and (np.diff(found) > 0).all()


def test_grey_images_are_shown_in_three_channels_and_luma_is_not(saved):
    lpips = load_lpips(*saved(Distance()), CPU)
    grey = images(channels=1)
    thrice = [np.repeat(image, 3, axis=1) for image in grey]
    protocol = PixelProtocol(lpips=lpips)
    expected = fidelity_N(*thrice, protocol)["lpips"]
    assert fidelity_N(*grey, protocol)["lpips"] == pytest.approx(expected, rel=1e-6)
    assert fidelity_N(*thrice, PixelProtocol(luma=True, lpips=lpips))["lpips"] == pytest.approx(
        expected, rel=1e-6
    )


def test_the_border_counts_for_lpips_too(saved):
    lpips = load_lpips(*saved(Distance()), CPU)
    x_hat, x = images()
    inside = (..., slice(3, -3), slice(3, -3))
    expected = fidelity_N(x_hat[inside], x[inside], PixelProtocol(lpips=lpips))["lpips"]
    assert fidelity_N(x_hat, x, PixelProtocol(border=3, lpips=lpips))["lpips"] == pytest.approx(
        expected
    )


def test_its_protocol_names_the_weights_and_no_luma(saved):
    path, sha256 = saved(Distance())
    protocol = PixelProtocol(luma=True, round=True, lpips=load_lpips(path, sha256, CPU))
    score = restoration_scores(fidelity_N(*images(), protocol), 0.95, protocol)["lpips"]
    assert score.num_samples == 4
    assert (
        sha256[:12] in score.protocol
        and "rounded to 8 bits" in score.protocol
        and "Y of" not in score.protocol
    )


def test_a_file_that_is_absent_another_one_or_no_torchscript_is_refused(saved, tmp_path):
    path, sha256 = saved(Distance())
    with pytest.raises(
        EvaluationError, match=r"lpips\.path = .*absent\.pt' can't be read: No such file"
    ):
        load_lpips(tmp_path / "absent.pt", sha256, CPU)
    with pytest.raises(EvaluationError, match=f"has the sha256 {sha256}, not {'0' * 64}"):
        load_lpips(path, "0" * 64, CPU)
    path.write_bytes(b"weights")
    with pytest.raises(
        EvaluationError, match=r"is no TorchScript file\. Write it with torch\.jit\.save"
    ):
        load_lpips(path, hashlib.sha256(b"weights").hexdigest(), CPU)


def test_a_network_that_can_not_measure_the_images_says_why(saved):
    lpips = load_lpips(*saved(Distance()), CPU)
    with pytest.raises(EvaluationError, match=r"can't measure images of 31x1 pixels: .*[Kk]ernel"):
        lpips.distance_N(*(image.astype(np.float64) for image in images(width=1)))


@pytest.mark.parametrize(
    ("module", "message"), [(Pooled(), "of 4 pairs of images the network made 1 numbers, 0 of")]
)
def test_anything_but_a_finite_distance_a_pair_is_refused(saved, module, message):
    with pytest.raises(EvaluationError, match=message):
        fidelity_N(*images(), PixelProtocol(lpips=load_lpips(*saved(module), CPU)))


def test_a_distance_that_is_no_number_is_refused(saved):
    module = Distance()
    module.weight.data[:] = float("nan")
    with pytest.raises(EvaluationError, match="made 4 numbers, 4 of them not finite"):
        fidelity_N(*images(), PixelProtocol(lpips=load_lpips(*saved(module), CPU)))
