"""Restorers on photographs that keep their own size."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from atelier.degradations import degrade_fixed, hidden_pixels
from atelier.errors import EvaluationError
from atelier.evaluation import common, evaluate_restorer
from atelier.metrics.baselines import baselines_for
from atelier.metrics.pixels import mse_N, psnr_N, ssim_N
from atelier.networks.restorers import build_restorer
from tests.support.tiny import HALF, MASK, NOISE, protocol_of, randomised, rows

PROTOCOL = protocol_of(max_side=64)


@pytest.fixture(scope="module")
def doubling():
    torch.manual_seed(0)
    return randomised(build_restorer("crnn", width=4, channels=3, iterations=2, upscale=2))


@pytest.fixture(scope="module")
def of_photos(photos, doubling):
    """The evaluation of a network on photographs of differing sizes, at most 64 pixels of a
    side."""
    return evaluate_restorer(doubling, [MASK, HALF], photos, None, PROTOCOL)


def scored_photos(photos, max_side=64, factor=2):
    """The parts of the test photographs that are scored, cut by other means: x_1CHW each."""
    cut = []
    for i in range(photos.info.counts["test"]):
        pixels_HWC = photos.images("test")[i]
        height, width = (min(side, max_side) // factor * factor for side in pixels_HWC.shape[:2])
        top, left = (pixels_HWC.shape[0] - height) // 2, (pixels_HWC.shape[1] - width) // 2
        x_HWC = (
            torch.from_numpy(pixels_HWC[top : top + height, left : left + width].copy()).float()
            / 255
        )
        cut.append(x_HWC.permute(2, 0, 1)[None])
    return cut


def test_photographs_of_differing_sizes_are_scored_one_by_one(photos, doubling, of_photos):
    seeds = [int(sha256[:12], 16) for sha256 in photos.hashes("test")]
    parts = []
    for x_1CHW, seed in zip(scored_photos(photos), seeds, strict=True):
        y_1Chw = degrade_fixed(x_1CHW, [MASK, HALF], [seed])
        bicubic = baselines_for([MASK, HALF])["bicubic"]
        guess = bicubic(y_1Chw, hidden_pixels(x_1CHW.shape, [MASK, HALF], [seed]))
        parts.append(
            {"x": x_1CHW.numpy(), "x_hat": doubling(y_1Chw).numpy(), "bicubic": guess.numpy()}
        )
    assert len({part["x"].shape for part in parts}) > 10
    for subject, key in (("model", "x_hat"), ("baseline:bicubic", "bicubic")):
        for metric, measure in (("mse", mse_N), ("psnr", psnr_N), ("ssim", ssim_N)):
            expected = np.mean([measure(part[key], part["x"]) for part in parts])
            found = rows(of_photos, subject=subject, metric=metric, slice="all")
            assert found.value.item() == pytest.approx(expected, rel=1e-5)
            assert found.num_samples.item() == photos.info.counts["test"]


def test_photographs_have_the_scores_and_rows_of_other_images(of_photos):
    assert sorted(of_photos.scores) == ["mse", "psnr", "psnr_gain", "ssim"]
    assert list(of_photos.table.slice.unique()) == ["all", "iterations:1", "iterations:2"]
    last = rows(of_photos, slice="iterations:2", metric="psnr").value.item()
    assert last == pytest.approx(of_photos.scores["psnr"].value)
    assert "of images larger than 64 pixels the centre" in of_photos.scores["psnr"].protocol


def test_the_picture_of_photographs_is_one_of_equal_pieces(photos, of_photos):
    picture = of_photos.pictures["restored.png"]
    smallest = [
        min(sides)
        for sides in zip(*(x.shape[-2:] for x in scored_photos(photos)[:10]), strict=True)
    ]
    assert picture.shape == (4 * (2 * smallest[0] + 2) + 2, 10 * (2 * smallest[1] + 2) + 2, 3)


def test_photographs_no_larger_than_the_limit_are_scored_whole(photos):
    evaluated = evaluate_restorer(nn.Identity(), [NOISE], photos, None, protocol_of(max_side=90))
    means = [
        float(
            np.square(
                degrade_fixed(x, [NOISE], [int(sha256[:12], 16)]).numpy().clip(0, 1) - x.numpy()
            ).mean()
        )
        for x, sha256 in zip(scored_photos(photos, 90, 1), photos.hashes("test"), strict=True)
    ]
    assert evaluated.scores["mse"].value == pytest.approx(np.mean(means), rel=1e-5)


@pytest.mark.parametrize(("chunk", "pixels"), [(500, 2**19), (3, 2**19), (500, 3 * 16), (500, 1)])
def test_a_pass_holds_neighbours_of_one_size_and_no_more_than_fit(monkeypatch, chunk, pixels):
    monkeypatch.setattr(common, "CHUNK", chunk)
    monkeypatch.setattr(common, "CHUNK_PIXELS", pixels)
    sizes_N2 = np.array([(4, 4)] * 7 + [(4, 8)] + [(8, 4)] * 2 + [(4, 4)])
    parts = [list(range(len(sizes_N2)))[run] for run in common.runs_of_one_size(sizes_N2)]
    assert [i for part in parts for i in part] == list(range(11))
    assert all(len({tuple(sizes_N2[i]) for i in part}) == 1 for part in parts)
    assert all(
        len(part) <= chunk and (len(part) == 1 or len(part) * 16 <= pixels) for part in parts
    )
    assert len(parts) == {(500, 2**19): 4, (3, 2**19): 6, (500, 48): 7, (500, 1): 11}[chunk, pixels]


def test_a_dataset_without_test_images_is_refused(photos):
    emptied = dataclasses.replace(photos.info, counts={**photos.info.counts, "test": 1})
    dataset = dataclasses.replace(photos, info=emptied)
    with pytest.raises(
        EvaluationError, match=r"datasets\.photos: the test split has 1 images.*test_fraction"
    ):
        evaluate_restorer(nn.Identity(), [NOISE], dataset, None, PROTOCOL)
