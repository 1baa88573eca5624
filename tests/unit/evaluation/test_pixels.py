"""Restorers scored by a pixel protocol, by class and level, and beside denoisers that are
installed."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from atelier.degradations import degrade_fixed, noise_levels
from atelier.errors import EvaluationError
from atelier.evaluation import evaluate_restorer
from atelier.metrics import denoisers
from atelier.metrics.pixel_protocol import PixelProtocol
from atelier.metrics.pixels import psnr_N, ssim_N
from atelier.networks.restorers import build_restorer
from atelier.params import Dataset
from tests.support.places import SHARED
from tests.support.stored import store_pictures
from tests.support.tiny import HALF, MASK, NOISE, protocol_of, randomised, rows

RANGE = {"noise": {"sigma": [0.05, 0.2]}}


def clean(dataset, count=300):
    return torch.from_numpy(dataset.images("test")[:count].copy()).permute(0, 3, 1, 2).float() / 255


def seeds_of(dataset, count=300):
    return [int(sha256[:12], 16) for sha256 in dataset.hashes("test")[:count]]


@pytest.fixture(scope="module")
def cnn():
    return randomised(build_restorer("cnn", width=4, channels=1, depth=2))


@pytest.fixture(scope="module")
def of_range(fashion, cnn):
    return evaluate_restorer(cnn, [MASK, RANGE], fashion, None, protocol_of())


# -- the protocol ------------------------------------------------------------------------------


def test_every_score_in_pixels_is_of_the_protocol_that_was_asked_for_and_says_so(photos):
    protocol = protocol_of(max_side=64, pixels={"luma": True, "border": 2, "round": True})
    evaluated = evaluate_restorer(nn.Identity(), [NOISE], photos, None, protocol)
    pixels = PixelProtocol(luma=True, border=2, round=True)
    psnr = []
    for i, seed in enumerate(seeds_of(photos, 18)):
        pixels_HWC = photos.images("test")[i]
        (height, width), (top, left) = centre_of(pixels_HWC)
        x_1CHW = torch.from_numpy(
            pixels_HWC[top : top + height, left : left + width].copy()
        ).permute(2, 0, 1)[None]
        x_1CHW = (x_1CHW.float() / 255).contiguous()
        psnr.append(
            psnr_N(degrade_fixed(x_1CHW, [NOISE], [seed]).numpy(), x_1CHW.numpy(), pixels).item()
        )
    assert evaluated.scores["psnr"].value == pytest.approx(np.mean(psnr), rel=1e-6)
    for metric in ("mse", "psnr", "ssim", "psnr_gain"):
        assert pixels.text in evaluated.scores[metric].protocol
    of_pixels = evaluated.table[evaluated.table.metric.str.contains("psnr|ssim|mse")]
    assert of_pixels.protocol.str.contains(pixels.text, regex=False).all()


def centre_of(pixels_HWC):
    sides = [min(side, 64) for side in pixels_HWC.shape[:2]]
    corner = [(side - cut) // 2 for side, cut in zip(pixels_HWC.shape[:2], sides, strict=True)]
    return sides, corner


def test_lpips_is_scored_where_its_weights_are_given(fashion, cnn, tmp_path):
    class Distance(nn.Module):
        def forward(self, a_NCHW: torch.Tensor, b_NCHW: torch.Tensor) -> torch.Tensor:
            return (a_NCHW - b_NCHW).abs().mean(dim=(1, 2, 3))

    torch.jit.save(
        torch.jit.trace(Distance(), torch.rand(2, 2, 3, 28, 28).unbind()), tmp_path / "lpips.pt"
    )
    given = {
        "path": "lpips.pt",
        "sha256": hashlib.sha256((tmp_path / "lpips.pt").read_bytes()).hexdigest(),
    }
    protocol = protocol_of(lpips=given)
    located = replace(protocol, params=protocol.params.resolve_paths(tmp_path))
    evaluated = evaluate_restorer(cnn, [NOISE], fashion, None, located)
    degraded = degrade_fixed(clean(fashion), [NOISE], seeds_of(fashion)).clamp(0, 1)
    expected = 2 * (degraded - clean(fashion)).abs().mean().item()
    identity = rows(evaluated, subject="baseline:identity", slice="all", metric="lpips")
    assert identity.value.item() == pytest.approx(expected, rel=1e-5)
    assert evaluated.scores["lpips"].value == pytest.approx(evaluated.units.lpips.mean())
    with pytest.raises(EvaluationError, match=r"lpips\.path = 'lpips\.pt' can't be read"):
        evaluate_restorer(cnn, [NOISE], fashion, None, protocol)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Four grey test pictures, one of them too small for MS-SSIM."""
    rng = np.random.default_rng(0)
    sizes = [(170, 180), (165, 161), (180, 170), (60, 180)]
    pictures = []
    for height, width in sizes:
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1), np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pictures.append((np.asarray(picture)[..., None], "", "test"))
    dataset = Dataset(source="folder", path="raw", channels=1, min_size=40)
    return store_pictures(tmp_path_factory.mktemp("large"), "large", dataset, pictures)


def test_ms_ssim_is_scored_on_the_pictures_that_are_large_enough(large, cnn):
    evaluated = evaluate_restorer(cnn, [NOISE], large, None, protocol_of())
    score = evaluated.scores["ms_ssim"]
    assert (score.num_samples, evaluated.scores["ssim"].num_samples) == (3, 4)
    assert evaluated.units.ms_ssim.isna().sum() == 1
    assert score.value == pytest.approx(evaluated.units.ms_ssim.mean())
    assert (
        rows(
            evaluated, subject="baseline:identity", slice="all", metric="ms_ssim"
        ).num_samples.item()
        == 3
    )
    small = evaluate_restorer(cnn, [NOISE], large, None, protocol_of(max_side=160))
    assert "ms_ssim" not in small.scores and "ms_ssim" not in small.units


# -- slices ------------------------------------------------------------------------------------


def test_each_class_and_each_level_has_its_scores(fashion, of_range):
    units, table = of_range.units, of_range.table
    assert list(units.columns) == ["unit", "mse", "psnr", "ssim", "class", "level"]
    levels = ["noise.sigma 0.05-0.1", "noise.sigma 0.1-0.15", "noise.sigma 0.15-0.2"]
    for column, names in (("class", fashion.info.class_names), ("level", levels)):
        found = table[table.slice.str.startswith(f"{column}:") & (table.metric == "psnr")]
        assert list(found.slice) == [f"{column}:{name}" for name in names]
        assert (found.subject == "model").all() and found.num_samples.sum() == 300
        assert found.value.to_numpy() == pytest.approx(
            units.groupby(column).psnr.mean()[list(names)].to_numpy()
        )
        weighted = (found.value * found.num_samples).sum() / 300
        assert weighted == pytest.approx(of_range.scores["psnr"].value)
        assert ((found.low < found.value) & (found.value < found.high)).all()
    assert set(table[table.slice.str.contains("class:|level:")].metric) == {"psnr", "ssim"}


def test_levels_are_those_of_the_noise_that_was_added(fashion, of_range):
    shape = torch.Size((300, 1, 28, 28))
    sigma_N = noise_levels(shape, [MASK, RANGE], seeds_of(fashion)).numpy()
    low, middle, high = (
        sigma_N[of_range.units.level == level] for level in sorted(set(of_range.units.level))
    )
    assert low.max() <= 0.1 <= middle.min() < middle.max() <= 0.15 <= high.min()
    psnr = rows(of_range, metric="psnr").set_index("slice").value.filter(like="level:")
    assert psnr.iloc[0] > psnr.iloc[1] > psnr.iloc[2]


def test_without_a_range_there_is_no_level_and_without_classes_no_class(fashion, photos, cnn):
    assert "level" not in evaluate_restorer(cnn, [NOISE], fashion, None, protocol_of()).units
    of_photos = evaluate_restorer(nn.Identity(), [RANGE], photos, None, protocol_of(max_side=64))
    assert list(of_photos.units.columns) == ["unit", "mse", "psnr", "ssim", "level"]


def test_a_slice_of_one_image_has_no_row(large):
    evaluated = evaluate_restorer(
        nn.Identity(), [{"jpeg": {"quality": [5, 95]}}], large, None, protocol_of()
    )
    counts = evaluated.units.level.value_counts()
    assert 1 in set(counts)
    found = {
        name.removeprefix("level:") for name in evaluated.table.slice if name.startswith("level:")
    }
    assert found == set(counts[counts > 1].index)


# -- denoisers ---------------------------------------------------------------------------------


def test_non_local_means_and_the_model_are_compared_on_the_same_first_images(fashion, cnn):
    evaluated = evaluate_restorer(cnn, [NOISE], fashion, None, protocol_of())
    slow = evaluated.table[evaluated.table.slice == "first:100"]
    assert set(slow.num_samples) == {100}
    values = slow.set_index(["subject", "metric"]).value
    own = evaluated.units.psnr[:100]
    assert values["model", "psnr"] == pytest.approx(own.mean())
    x_NCHW, y_NCHW = (
        clean(fashion, 100),
        degrade_fixed(clean(fashion), [NOISE], seeds_of(fashion))[:100],
    )
    nlm = denoisers.denoisers_for([NOISE])["nlm"]
    x_hat = np.stack(
        [nlm.restore(y_HW[0].double().numpy()[..., None], 0.2)[None, ..., 0] for y_HW in y_NCHW]
    )
    assert values["baseline:nlm", "psnr"] == pytest.approx(psnr_N(x_hat, x_NCHW.numpy()).mean())
    assert values["baseline:nlm", "ssim"] == pytest.approx(ssim_N(x_hat, x_NCHW.numpy()).mean())
    gain = slow[slow.metric == "psnr_gain_nlm"]
    assert gain.value.item() == pytest.approx((own - psnr_N(x_hat, x_NCHW.numpy())).mean())
    assert (
        "the first 100 test images" in gain.protocol.item()
        and "told sigma 0.2" in gain.protocol.item()
    )
    assert not slow.duplicated(["subject", "metric"]).any()


def test_denoisers_are_told_what_they_estimate_where_images_differ_in_noise(fashion, cnn):
    evaluated = evaluate_restorer(cnn, [RANGE], fashion, None, protocol_of())
    values = rows(evaluated, metric="psnr", slice="first:100").set_index("subject")
    assert "the noise that it estimates in each image" in values.protocol["baseline:nlm"]
    y_NCHW = degrade_fixed(clean(fashion, 100), [RANGE], seeds_of(fashion, 100))
    noisy_N = psnr_N(y_NCHW.numpy(), clean(fashion, 100).numpy())
    assert values.value["baseline:nlm"] > noisy_N.mean() + 1


def test_no_score_depends_on_what_is_installed(fashion, cnn, monkeypatch):
    with_them = evaluate_restorer(cnn, [NOISE], fashion, None, protocol_of())
    monkeypatch.setattr(denoisers, "_imported", lambda module: None)
    without = evaluate_restorer(cnn, [NOISE], fashion, None, protocol_of())
    assert without.scores == with_them.scores
    assert without.units.equals(with_them.units)
    shared = with_them.table[~with_them.table.slice.str.startswith("first:")]
    assert len(shared) < len(with_them.table)
    assert without.table.equals(shared.reset_index(drop=True))


def test_images_that_a_denoiser_can_not_work_on_have_no_row_of_it(fashion, cnn, monkeypatch):
    nlm = denoisers.denoisers_for([NOISE])["nlm"]
    monkeypatch.setattr(denoisers, "_non_local_means", lambda: replace(nlm, smallest=29))
    monkeypatch.setattr(denoisers, "_bm3d", lambda: None)
    evaluated = evaluate_restorer(cnn, [NOISE], fashion, None, protocol_of())
    assert not evaluated.table.slice.str.startswith("first:").any()


# -- published figures -------------------------------------------------------------------------


def pictures_of(name):
    """A benchmark's folder."""
    if not (SHARED / name).is_dir():
        pytest.skip(
            f"{SHARED / name} is not here; ATELIER_SHARED can name the folder that holds data/"
        )
    return SHARED / name


class Dncnn(nn.Module):
    """17 convolutions that estimate the noise.

    Zhang et al. 2017, arXiv:1608.03981, batch normalisation folded in.
    """

    def __init__(self, weights):
        super().__init__()
        state, layers = torch.load(weights, weights_only=True), []
        for key in [key for key in state if key.endswith("weight")]:
            conv = nn.Conv2d(*state[key].shape[1::-1], 3, padding=1)
            conv.load_state_dict(
                {"weight": state[key], "bias": state[key.replace("weight", "bias")]}
            )
            layers += [conv, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, y_BCHW):
        return y_BCHW - self.layers(y_BCHW)


def stored(folder, project, channels):
    """All pictures of a folder as the test split of a dataset."""
    pictures = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        pictures.append((pixels.reshape(*pixels.shape[:2], channels), "", "test"))
    return store_pictures(
        project, "published", Dataset(source="folder", path="raw", channels=channels), pictures
    )


@pytest.mark.slow
def test_dncnn_reaches_its_published_figure_in_an_evaluation(tmp_path):
    network = Dncnn(pictures_of("weights") / "dncnn_25.pth").eval()
    dataset = stored(pictures_of("set12"), tmp_path, channels=1)
    steps = [{"noise": {"sigma": 25 / 255}}]
    evaluated = evaluate_restorer(
        network, steps, dataset, None, protocol_of(pixels={"round": True})
    )
    assert evaluated.scores["psnr"].num_samples == 12
    assert evaluated.scores["psnr"].value == pytest.approx(30.44, abs=0.02)


def test_bicubic_enlargement_reaches_its_published_figure_in_an_evaluation(tmp_path):
    dataset = stored(pictures_of("set5"), tmp_path, channels=3)
    protocol = protocol_of(pixels={"luma": True, "border": 2, "round": True})
    network = build_restorer("resnet_sr", channels=3, width=4, blocks=1, upscale=2).eval()
    evaluated = evaluate_restorer(network, [HALF], dataset, None, protocol)
    found = rows(evaluated, subject="baseline:bicubic", slice="all", metric="psnr").value.item()
    assert found == pytest.approx(33.66, abs=0.02)
