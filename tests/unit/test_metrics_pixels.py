"""MSE, PSNR and SSIM: against scikit-image and torchmetrics, on odd sizes, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

import atelier.metrics.pixels as pixels
from atelier.errors import EvaluationError
from atelier.metrics.pixels import PROTOCOLS, fidelity_N, mse_N, psnr_N, restoration_scores, ssim_N

SIZES = [(1, 37, 31), (3, 31, 37), (1, 28, 28), (1, 11, 11)]


def _images(channels=1, height=37, width=31, num_images=5, sigma=0.1, seed=0):
    """Smooth clean images and noisy ones, clipped: pictures, not white noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 10
    phases = rng.uniform(0, 6, size=(2, num_images, channels, 1, 1))
    x = (0.5 + 0.25 * np.sin(rows + phases[0]) + 0.25 * np.cos(columns + phases[1])).astype(np.float32)
    noise = sigma * rng.normal(size=x.shape) * np.linspace(0.5, 1.5, num_images)[:, None, None, None]
    return (x + noise).clip(0, 1).astype(np.float32), x


@pytest.mark.parametrize("size", SIZES)
def test_psnr_and_mse_equal_scikit_image(size):
    x_hat, x = _images(*size)
    assert mse_N(x_hat, x) == pytest.approx([mean_squared_error(a, b) for a, b in zip(x, x_hat, strict=True)], rel=1e-5)
    expected = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(x, x_hat, strict=True)]
    assert psnr_N(x_hat, x) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_equals_scikit_image(size):
    x_hat, x = _images(*size)
    expected = [
        structural_similarity(
            a.astype(np.float64), b.astype(np.float64), data_range=1.0, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for a, b in zip(x_hat, x, strict=True)
    ]  # fmt: skip
    assert ssim_N(x_hat, x) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_equals_torchmetrics_inside_the_border(size):
    x_hat, x = (torch.from_numpy(images).double() for images in _images(*size))
    maps = structural_similarity_index_measure(
        x_hat, x, sigma=1.5, kernel_size=11, reduction="none", data_range=1.0, return_full_image=True
    )[1]
    expected = maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)).numpy()
    assert ssim_N(x_hat.float().numpy(), x.float().numpy()) == pytest.approx(expected, rel=1e-9)


def test_identical_images_get_the_cap_and_ssim_one():
    _, x = _images()
    assert (mse_N(x, x) == 0).all()
    assert (psnr_N(x, x) == 100.0).all()
    assert ssim_N(x, x) == pytest.approx(np.ones(5), abs=1e-12)


def test_known_values():
    x = np.zeros((1, 1, 37, 31), dtype=np.float32)
    assert psnr_N(x + 0.1, x)[0] == pytest.approx(20.0, abs=1e-5)
    # Two constant images: only the luminance term is left, C1 / (0.1^2 + C1) with C1 = 1e-4.
    assert ssim_N(x + 0.1, x)[0] == pytest.approx(1e-4 / (0.01 + 1e-4), rel=1e-5)


def test_restored_images_are_clipped_before_they_are_scored():
    x_hat, x = _images()
    beyond = np.where(x_hat > 0.8, x_hat + 3.0, np.where(x_hat < 0.2, x_hat - 3.0, x_hat)).astype(np.float32)
    assert beyond.max() > 3 and beyond.min() < -2
    for metric in (mse_N, psnr_N, ssim_N):
        assert (metric(beyond, x) == metric(beyond.clip(0, 1), x)).all()


def test_an_images_score_depends_on_no_other_image_and_no_chunk(monkeypatch):
    x_hat, x = _images(channels=3, num_images=9)
    order = np.random.default_rng(1).permutation(9)
    whole = {metric: metric(x_hat, x) for metric in (mse_N, psnr_N, ssim_N)}
    monkeypatch.setattr(pixels, "_VALUES_PER_CHUNK", 2 * 3 * 37 * 31)
    for metric, values in whole.items():
        assert metric(x_hat, x) == pytest.approx(values, rel=1e-12)
        assert metric(x_hat[order], x[order]) == pytest.approx(values[order], rel=1e-12)
        assert metric(x_hat[3:4], x[3:4]) == pytest.approx(values[3:4], rel=1e-12)


def test_more_noise_scores_worse():
    scores = [restoration_scores(fidelity_N(*_images(sigma=sigma)), 0.95) for sigma in (0.01, 0.05, 0.1, 0.2, 0.4)]
    for better, worse in pairwise(scores):
        assert better["mse"].value < worse["mse"].value
        assert better["psnr"].value > worse["psnr"].value
        assert better["ssim"].value > worse["ssim"].value


def test_restoration_scores_are_means_with_intervals_and_protocols():
    x_hat, x = _images()
    scores = restoration_scores(fidelity_N(x_hat, x), 0.9)
    assert list(scores) == ["mse", "psnr", "ssim"] == list(PROTOCOLS)
    for name, metric in (("mse", mse_N), ("psnr", psnr_N), ("ssim", ssim_N)):
        score = scores[name]
        assert score.value == pytest.approx(metric(x_hat, x).mean())
        assert score.low < score.value < score.high
        assert score.num_samples == 5
        assert score.protocol == f"{PROTOCOLS[name]}; 0.9 t interval of the mean"


def test_read_only_arrays_are_scored_and_left_alone():
    x_hat, x = _images()
    copies = x_hat.copy(), x.copy()
    x_hat.setflags(write=False)
    x.setflags(write=False)
    restoration_scores(fidelity_N(x_hat, x), 0.95)
    assert (x_hat == copies[0]).all() and (x == copies[1]).all()


@pytest.mark.parametrize(("scale", "shift"), [(2.0, -1.0), (255.0, 0.0), (np.nan, 0.0)])
def test_clean_images_of_another_range_are_refused(scale, shift):
    x_hat, x = _images()
    with pytest.raises(EvaluationError, match=r"clean images 0 to 4 span .* not \[0, 1\]"):
        psnr_N(x_hat, (x * scale + shift).astype(np.float32))


def test_diverged_restorations_are_refused():
    x_hat, x = _images()
    x_hat[2, 0, 3, 3] = np.nan
    with pytest.raises(EvaluationError, match="restored images 0 to 4 hold NaN or infinity"):
        ssim_N(x_hat, x)


@pytest.mark.parametrize("shapes", [((2, 1, 9, 9), (3, 1, 9, 9)), ((9, 9), (9, 9)), ((0, 1, 9, 9), (0, 1, 9, 9))])
def test_shapes_that_do_not_match_are_refused(shapes):
    with pytest.raises(EvaluationError, match="same NCHW shape"):
        mse_N(*(np.zeros(shape, dtype=np.float32) for shape in shapes))


def test_ssim_refuses_images_smaller_than_its_window():
    tiny = np.zeros((1, 1, 40, 10), dtype=np.float32)
    with pytest.raises(EvaluationError, match="40x10 pixels are smaller than the window of 11x11"):
        ssim_N(tiny, tiny)
