"""MSE, PSNR, SSIM, MS-SSIM: against scikit-image and torchmetrics, on odd sizes, by protocols.

What is refused.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image import (
    peak_signal_noise_ratio as torchmetrics_psnr,
)

import atelier.metrics.pixels as pixels
from atelier.errors import EvaluationError
from atelier.metrics.pixels import (
    AS_STORED,
    PixelProtocol,
    fidelity_N,
    luma_N1HW,
    ms_ssim_N,
    mse_N,
    psnr_N,
    restoration_scores,
    ssim_N,
)
from atelier.metrics.structure import MS_SSIM_SIDE
from atelier.params import score_checks

SIZES = [(1, 37, 31), (3, 31, 37), (1, 28, 28), (1, 11, 11)]


def _images(channels=1, height=37, width=31, num_images=5, sigma=0.1, seed=0):
    """Smooth clean images and noisy ones, clipped: pictures, not white noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 10
    phases = rng.uniform(0, 6, size=(2, num_images, channels, 1, 1))
    x = (0.5 + 0.25 * np.sin(rows + phases[0]) + 0.25 * np.cos(columns + phases[1])).astype(
        np.float32
    )
    noise = (
        sigma * rng.normal(size=x.shape) * np.linspace(0.5, 1.5, num_images)[:, None, None, None]
    )
    return (x + noise).clip(0, 1).astype(np.float32), x


@pytest.mark.parametrize("size", SIZES)
def test_psnr_and_mse_equal_scikit_image(size):
    x_hat, x = _images(*size)
    assert mse_N(x_hat, x) == pytest.approx(
        [mean_squared_error(a, b) for a, b in zip(x, x_hat, strict=True)], rel=1e-5
    )
    expected = [
        peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(x, x_hat, strict=True)
    ]
    assert psnr_N(x_hat, x) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_equals_scikit_image(size):
    x_hat, x = _images(*size)
    expected = [
        structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x_hat, x, strict=True)
    ]
    assert ssim_N(x_hat, x) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_equals_torchmetrics_inside_the_border(size):
    x_hat, x = (torch.from_numpy(images).double() for images in _images(*size))
    maps = structural_similarity_index_measure(
        x_hat,
        x,
        sigma=1.5,
        kernel_size=11,
        reduction="none",
        data_range=1.0,
        return_full_image=True,
    )[1]
    expected = maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)).numpy()
    assert ssim_N(x_hat.float().numpy(), x.float().numpy()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_psnr_equals_torchmetrics(size):
    x_hat, x = _images(*size)
    a, b = torch.from_numpy(x_hat), torch.from_numpy(x)
    expected = torchmetrics_psnr(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3)).numpy()
    assert psnr_N(x_hat, x) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(1, 176, 192), (3, 192, 208)])
def test_ms_ssim_is_made_of_the_scales_of_torchmetrics_inside_the_border(size):
    x_hat, x = _images(*size, num_images=3)
    a, b = torch.from_numpy(x_hat).double(), torch.from_numpy(x).double()
    asked = {"sigma": 1.5, "kernel_size": 11, "reduction": "none", "data_range": 1.0}
    # As a whole it counts a mirrored border at the fifth scale.
    whole = multiscale_structural_similarity_index_measure(a, b, normalize="relu", **asked)
    assert ms_ssim_N(x_hat, x) == pytest.approx(whole.numpy(), rel=1e-3)
    expected = 1
    for weight in (0.0448, 0.2856, 0.3001, 0.2363):
        contrast = structural_similarity_index_measure(
            a, b, return_contrast_sensitivity=True, **asked
        )[1]
        expected = expected * contrast.numpy() ** weight
        a, b = (torch.nn.functional.avg_pool2d(images, 2) for images in (a, b))
    maps = structural_similarity_index_measure(a, b, return_full_image=True, **asked)[1]
    expected = expected * maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)).numpy() ** 0.1333
    assert ms_ssim_N(x_hat, x) == pytest.approx(expected, rel=1e-9)


def test_ms_ssim_of_equal_images_is_one_and_falls_with_noise():
    _, x = _images(height=171, width=165, num_images=2)
    assert ms_ssim_N(x, x) == pytest.approx(np.ones(2), abs=1e-12)
    values = [
        ms_ssim_N(*_images(height=171, width=165, num_images=2, sigma=s)).mean()
        for s in (0.05, 0.1, 0.2, 0.4)
    ]
    assert all(better > worse > 0 for better, worse in pairwise(values))


def test_ms_ssim_needs_a_window_at_its_fifth_scale():
    for height, width in ((161, 170), (160, 170), (170, 160)):
        x_hat, x = _images(height=height, width=width, num_images=2)
        values = ms_ssim_N(x_hat, x)
        assert np.isfinite(values).all() if min(height, width) >= 161 else np.isnan(values).all()
    x_hat, x = _images(height=165, width=170, num_images=2)
    assert np.isnan(fidelity_N(x_hat, x, PixelProtocol(border=3))["ms_ssim"]).all()
    assert (score_checks.SSIM_SIDE, score_checks.MS_SSIM_SIDE) == (11, MS_SSIM_SIDE) == (11, 161)


def test_an_image_of_opposite_structure_has_no_ms_ssim():
    _, x = _images(height=170, width=170, num_images=2)
    assert (ms_ssim_N(1 - x, x) == 0).all()


def test_the_metrics_together_are_those_alone():
    x_hat, x = _images(3, 165, 171, num_images=3)
    protocol = PixelProtocol(luma=True, border=2, round=True)
    found = fidelity_N(x_hat, x, protocol)
    assert list(found) == ["mse", "psnr", "ssim", "ms_ssim"]
    for name, metric in (
        ("mse", mse_N),
        ("psnr", psnr_N),
        ("ssim", ssim_N),
        ("ms_ssim", ms_ssim_N),
    ):
        np.testing.assert_array_equal(found[name], metric(x_hat, x, protocol))


def test_luma_is_that_of_matlab():
    colours = np.zeros((1, 3, 1, 4))
    colours[0, :, 0] = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]]).T
    assert (luma_N1HW(colours) * 255).round(3).ravel().tolist() == [235.0, 16.0, 81.481, 144.553]
    grey = colours[:, :1]
    assert luma_N1HW(grey).tolist() == grey.tolist()


def test_each_part_of_a_protocol_does_what_it_says():
    x_hat, x = _images(3)
    x = (x * 255).round().astype(np.float32) / 255
    beyond = (x_hat + 0.3).astype(np.float32)
    inside = (..., slice(4, -4), slice(4, -4))
    assert psnr_N(x_hat, x, PixelProtocol(border=4)) == pytest.approx(
        psnr_N(x_hat[inside], x[inside]), rel=1e-12
    )
    pixels = (x_hat.astype(np.float64) * 255).round() / 255
    assert mse_N(x_hat, x, PixelProtocol(round=True)) == pytest.approx(mse_N(pixels, x), rel=1e-6)
    assert (mse_N(x_hat, x, PixelProtocol(round=True)) != mse_N(x_hat, x)).all()
    assert mse_N(beyond, x, PixelProtocol(clip=False)) == pytest.approx(
        np.square(beyond.astype(np.float64) - x).mean(axis=(1, 2, 3)), rel=1e-9
    )
    of_luma = mse_N(luma_N1HW(x_hat), luma_N1HW(x))
    assert mse_N(x_hat, x, PixelProtocol(luma=True)) == pytest.approx(of_luma, rel=1e-12)
    grey = x_hat[:, :1], x[:, :1]
    assert (psnr_N(*grey, PixelProtocol(luma=True)) == psnr_N(*grey)).all()


def test_luma_of_rounded_images_is_rounded_too():
    x_hat, x = _images(3)
    y_hat, y = (
        (luma_N1HW((a.astype(np.float64) * 255).round() / 255) * 255).round() for a in (x_hat, x)
    )
    expected = np.square((y_hat - y) / 255).mean(axis=(1, 2, 3))
    assert mse_N(x_hat, x, PixelProtocol(luma=True, round=True)) == pytest.approx(
        expected, rel=1e-9
    )


def test_every_protocol_has_a_text_of_its_own():
    protocols = [
        replace(AS_STORED, **{key: value})
        for key, value in (
            ("luma", True),
            ("border", 2),
            ("border", 3),
            ("round", True),
            ("clip", False),
        )
    ]
    texts = [AS_STORED.text, *(protocol.text for protocol in protocols)]
    assert len(set(texts)) == 6
    assert AS_STORED.text == (
        "images in [0, 1], restored one clipped to it, no rounding to 8 bits, all channels, no "
        "border removed"
    )
    for protocol in protocols:
        assert all(protocol.text in text for text in protocol.texts.values())


def test_a_border_that_is_all_there_is_is_refused():
    x_hat, x = _images()
    with pytest.raises(
        EvaluationError, match="border = 16 leaves nothing of images of 37x31 pixels"
    ):
        psnr_N(x_hat, x, PixelProtocol(border=16))
    with pytest.raises(EvaluationError, match="15x9 pixels .* smaller than the window"):
        ssim_N(x_hat, x, PixelProtocol(border=11))


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
    beyond = np.where(x_hat > 0.8, x_hat + 3.0, np.where(x_hat < 0.2, x_hat - 3.0, x_hat)).astype(
        np.float32
    )
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
    scores = [
        restoration_scores(fidelity_N(*_images(sigma=sigma)), 0.95)
        for sigma in (0.01, 0.05, 0.1, 0.2, 0.4)
    ]
    for better, worse in pairwise(scores):
        assert better["mse"].value < worse["mse"].value
        assert better["psnr"].value > worse["psnr"].value
        assert better["ssim"].value > worse["ssim"].value


def test_restoration_scores_are_means_with_intervals_and_protocols():
    x_hat, x = _images()
    scores = restoration_scores(fidelity_N(x_hat, x), 0.9)
    assert list(scores) == ["mse", "psnr", "ssim"]  # too small for MS-SSIM
    for name, metric in (("mse", mse_N), ("psnr", psnr_N), ("ssim", ssim_N)):
        score = scores[name]
        assert score.value == pytest.approx(metric(x_hat, x).mean())
        assert score.low < score.value < score.high
        assert score.num_samples == 5
        assert score.protocol == f"{AS_STORED.texts[name]}; 0.9 t interval of the mean"


def test_ms_ssim_rests_on_the_images_that_are_large_enough():
    large, small = (fidelity_N(*_images(height=side, width=side)) for side in (165, 40))
    both = {metric: np.concatenate([large[metric], small[metric]]) for metric in large}
    scores = restoration_scores(both, 0.95)
    assert (scores["ms_ssim"].num_samples, scores["psnr"].num_samples) == (5, 10)
    assert scores["ms_ssim"].value == pytest.approx(large["ms_ssim"].mean())
    assert "at least 161 pixels" in scores["ms_ssim"].protocol
    one = {metric: values[[0, 5, 6]] for metric, values in both.items()}
    assert list(restoration_scores(one, 0.95)) == [
        "mse",
        "psnr",
        "ssim",
    ]  # of one image there is no interval


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


@pytest.mark.parametrize(
    "shapes", [((2, 1, 9, 9), (3, 1, 9, 9)), ((9, 9), (9, 9)), ((0, 1, 9, 9), (0, 1, 9, 9))]
)
def test_shapes_that_do_not_match_are_refused(shapes):
    with pytest.raises(EvaluationError, match="same NCHW shape"):
        mse_N(*(np.zeros(shape, dtype=np.float32) for shape in shapes))


def test_ssim_refuses_images_smaller_than_its_window():
    tiny = np.zeros((1, 1, 40, 10), dtype=np.float32)
    with pytest.raises(EvaluationError, match="40x10 pixels are smaller than the window of 11x11"):
        ssim_N(tiny, tiny)
