"""Non-local means and BM3D: chosen where they fit and are installed, and better than the noisy
image."""

import numpy as np
import pytest
import skimage.data

from atelier.metrics import denoisers
from atelier.metrics.denoisers import denoisers_for, estimated_sigma, known_sigma

NOISE = {"noise": {"sigma": 0.1}}
INSTALLED = denoisers_for([NOISE])
SPECKLED = [{"speckle": {"sigma": 0.1}}, NOISE]


def picture(colour=False, height=61, width=53):
    x_HWC = skimage.data.astronaut()[100 : 100 + height, 180 : 180 + width] / 255
    return x_HWC if colour else x_HWC.mean(axis=2, keepdims=True)


def psnr(x_hat_HWC, x_HWC):
    return -10 * np.log10(np.square(x_hat_HWC - x_HWC).mean())


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", ["nlm", "bm3d"])
def test_a_denoiser_takes_the_noise_out_the_same_way_each_time(name, colour):
    if name not in INSTALLED:
        pytest.skip(
            f"{name} is not installed (pip install 'atelier[baselines]', or bm3d for "
            "non-commercial use)"
        )
    x_HWC = picture(colour)
    y_HWC = x_HWC + np.random.default_rng(0).normal(0, 0.1, x_HWC.shape)
    restored_HWC = INSTALLED[name].restore(y_HWC, 0.1)
    assert restored_HWC.shape == x_HWC.shape
    assert psnr(restored_HWC, x_HWC) > psnr(y_HWC, x_HWC) + 4
    np.testing.assert_array_equal(INSTALLED[name].restore(y_HWC, 0.1), restored_HWC)
    smallest = INSTALLED[name].smallest
    assert INSTALLED[name].restore(y_HWC[:smallest, :smallest], 0.1).shape == (
        smallest,
        smallest,
        x_HWC.shape[2],
    )


@pytest.mark.parametrize("steps", [[NOISE], [{"poisson": {"peak": 30}}], SPECKLED])
def test_denoisers_fit_noise(steps):
    assert "nlm" in denoisers_for(steps)


@pytest.mark.parametrize(
    "kind", ["mask", "downsample", "jpeg", "gaussian_blur", "salt_and_pepper", "decolourise"]
)
def test_denoisers_fit_nothing_but_noise(kind):
    assert denoisers_for([{kind: {}}, NOISE]) == denoisers_for([NOISE, {kind: {}}]) == {}


def test_what_is_not_installed_or_does_not_run_here_is_left_out(monkeypatch):
    def absent(name):
        raise {"skimage.restoration": ImportError, "bm3d": OSError}.get(name, AssertionError)(name)

    monkeypatch.setattr(denoisers, "import_module", absent)
    assert denoisers_for([NOISE]) == {}


@pytest.mark.parametrize(
    ("steps", "sigma"),
    [
        ([NOISE], 0.1),
        ([{"noise": {"sigma": [0.1, 0.2]}}], None),
        (SPECKLED, None),
        ([{"poisson": {"peak": 9}}], None),
    ],
)
def test_the_noise_is_known_only_where_every_pixel_has_the_same(steps, sigma):
    assert known_sigma(steps) == sigma


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("colour", [False, True])
def test_the_noise_of_a_picture_is_estimated(sigma, colour):
    x_HWC = picture(colour, 200, 210)
    y_HWC = x_HWC + np.random.default_rng(1).normal(0, sigma, x_HWC.shape)
    assert estimated_sigma(y_HWC) == pytest.approx(sigma, rel=0.25, abs=0.005)
