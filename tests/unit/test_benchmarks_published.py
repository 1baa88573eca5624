"""The protocols of published tables, on tiny pictures and, where `../shared/data` is, against
published figures."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from atelier.errors import EvaluationError
from atelier.metrics.denoisers import denoisers_for
from atelier.metrics.pixel_protocol import PixelProtocol
from atelier.networks.restorers import build_restorer
from benchmarks import protocols
from benchmarks.chart import draw
from benchmarks.published import table
from tests.support.places import SHARED
from tests.support.tiny import randomised


def pictures_of(name):
    """A benchmark's folder."""
    if not (SHARED / name).is_dir():
        pytest.skip(
            f"{SHARED / name} is not here; ATELIER_SHARED can name the folder that holds data/"
        )
    return SHARED / name


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.png"):
        Image.fromarray(rng.integers(0, 256, (37, 31), np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize(
    ("task", "name", "published", "tolerance"),
    [
        (protocols.enlarging(2), "set5", 33.66, 0.02),
        (protocols.enlarging(3), "set5", 30.39, 0.02),
        (protocols.enlarging(4), "set5", 28.42, 0.02),
        (protocols.enlarging(2), "set14", 30.24, 0.02),
        (protocols.deblocking(10), "classic5", 27.82, 0.02),
        (
            protocols.denoising(25),
            "set12",
            20.20,
            0.01,
        ),  # of this noise: 20.17 is what sigma 25 has in the mean
    ],
)
def test_baselines_are_those_of_published_tables(task, name, published, tolerance):
    rows = table(pictures_of(name), task, None)
    assert np.mean(rows) == pytest.approx(published, abs=tolerance)


@pytest.mark.slow
def test_the_published_weights_of_dncnn_give_their_published_figure():
    state = torch.load(pictures_of("weights") / "dncnn_25.pth", weights_only=True)
    layers = []
    for key in [key for key in state if key.endswith("weight")]:
        conv = torch.nn.Conv2d(*state[key].shape[1::-1], 3, padding=1)
        conv.load_state_dict({"weight": state[key], "bias": state[key.replace("weight", "bias")]})
        layers += [conv, torch.nn.ReLU()]

    class Dncnn(torch.nn.Sequential):
        noise_level = False

        def estimates(self, y_BCHW):
            return [y_BCHW - self(y_BCHW)]

    network, task, scores = Dncnn(*layers[:-1]), protocols.denoising(25), []
    for path in protocols.picture_files(pictures_of("set12")):
        x_HW = protocols.grey(Image.open(path))
        (x_hat_HW,) = protocols.estimates(network, task.degrade(x_HW), task)
        scores.append(protocols.psnr(x_hat_HW, x_HW, task.scored))
    assert np.mean(scores) == pytest.approx(30.44, abs=0.02)


def test_noise_is_not_clipped_and_the_same_for_every_picture_of_a_size():
    task = protocols.denoising(50)
    black, white = np.zeros((20, 30), np.uint8), np.full((20, 30), 255, np.uint8)
    assert task.degrade(black).min() < -0.2 and task.degrade(white).max() > 1.2
    np.testing.assert_allclose(task.degrade(black), task.degrade(white) - 1, atol=1e-12)
    expected = np.random.RandomState(0).normal(0, 50 / 255, (20, 30))
    np.testing.assert_array_equal(task.degrade(black), expected)


def test_psnr_is_that_of_scikit_image_within_the_border():
    rng = np.random.default_rng(1)
    x_HW, x_hat_HW = rng.integers(0, 256, (2, 25, 19), np.uint8)
    expected = peak_signal_noise_ratio(x_HW[3:-3, 3:-3], x_hat_HW[3:-3, 3:-3], data_range=255)
    scored = PixelProtocol(border=3, round=True)
    assert protocols.psnr(x_hat_HW / 255, x_HW, scored) == pytest.approx(expected)
    assert protocols.psnr(x_HW / 255, x_HW, scored) == 100  # the cap of equal pictures
    with pytest.raises(EvaluationError, match=r"25, 18\).*25, 19\)"):
        protocols.psnr(x_hat_HW[:, 1:] / 255, x_HW, scored)


def test_luma_of_white_black_and_red_is_that_of_matlab():
    colours = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0]]], np.uint8)
    assert protocols.luma(Image.fromarray(colours)).tolist() == [[235, 16, 81]]


def test_a_grey_picture_is_its_own_luma():
    levels = np.array([[0, 128, 255]], np.uint8)
    assert protocols.luma(Image.fromarray(levels)).tolist() == levels.tolist()


@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 2, 3])
def test_resizing_keeps_a_constant_and_a_mirrored_picture_mirrored(scale):
    x_HW = np.random.default_rng(2).random((36, 30))
    np.testing.assert_allclose(protocols.resized(np.full((36, 30), 0.3), scale), 0.3)
    np.testing.assert_allclose(
        protocols.resized(x_HW[:, ::-1], scale), protocols.resized(x_HW, scale)[:, ::-1]
    )
    assert protocols.resized(x_HW, scale).shape == (round(36 * scale), round(30 * scale))


def test_halving_has_the_weights_of_imresize():
    """Half of Keys' kernel at 1/4, 3/4, 5/4 and 7/4 to both sides.

    At the border the picture goes on mirrored.
    """
    taps = np.array([0.43359375, 0.11328125, -0.03515625, -0.01171875])
    impulse_HW = np.tile(np.eye(16)[7], (16, 1))
    inside = protocols.resized(impulse_HW, 0.5)[4]
    np.testing.assert_allclose(inside, [0, 0, taps[2], taps[0], taps[1], taps[3], 0, 0], atol=1e-12)
    corner_HW = np.tile(np.eye(16)[0], (16, 1))
    np.testing.assert_allclose(
        protocols.resized(corner_HW, 0.5)[4, :2], taps[[0, 2]] + taps[[1, 3]], atol=1e-12
    )


def test_every_estimate_of_a_recurrent_restorer_is_scored_the_untrained_one_is_the_noisy_picture(
    folder, capsys
):
    task = protocols.denoising(25)
    network = build_restorer("crnn", channels=1, width=4, iterations=3).eval()
    rows = table(folder, task, network)
    assert [len(row) for row in rows] == [4, 4]
    for _, *iterations in rows:
        assert iterations == [iterations[0]] * 3
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "| picture | noisy | iteration 1 | iteration 2 | iteration 3 |"
    assert [line.split(" | ")[0] for line in printed[2:]] == ["| a", "| b", "| **mean**"]
    assert len(set(table(folder, task, randomised(network))[0][1:])) == 3


def test_classical_denoisers_stand_between_the_noisy_picture_and_the_network(folder, capsys):
    task, denoisers = (
        protocols.denoising(25),
        {"nlm": denoisers_for([{"noise": {"sigma": 25 / 255}}])["nlm"]},
    )
    Image.fromarray(np.full((37, 31), 90, np.uint8)).save(folder / "a.png")
    network = build_restorer("cnn", channels=1, width=4, depth=2).eval()
    noisy, nlm, untrained = table(folder, task, network, denoisers)[0]
    assert nlm > noisy + 5 > untrained
    assert capsys.readouterr().out.splitlines()[0] == "| picture | noisy | nlm | model |"


def test_an_untrained_enlarger_scores_what_bicubic_enlargement_does(folder):
    network = build_restorer("resnet_sr", channels=1, width=4, blocks=1, upscale=2).eval()
    for bicubic, untrained in table(folder, protocols.enlarging(2), network):
        assert untrained == pytest.approx(bicubic, abs=0.7)  # torch's kernel has another slope


def test_a_restorer_that_is_told_the_noise_is_told_that_of_the_task(folder):
    network = randomised(build_restorer("cnn", channels=1, width=4, depth=2, noise_level=True))
    y_hw = protocols.denoising(25).degrade(protocols.grey(Image.open(folder / "a.png")))
    told, other = (
        protocols.estimates(network, y_hw, protocols.denoising(sigma))[0] for sigma in (25, 50)
    )
    assert (told != other).any()


def test_a_chart_has_a_line_from_the_first_point_to_the_last(tmp_path):
    draw(tmp_path / "made" / "line.png", [(0.0, 20.0), (1.0, 25.0), (2.0, 26.0)], ("minutes", "dB"))
    with Image.open(tmp_path / "made" / "line.png") as image:
        pixels = np.asarray(image).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0]) > 100
    columns = np.flatnonzero(blue.any(axis=0))
    first, last = columns.min() + 5, columns.max() - 5
    assert last - first > 400
    assert np.flatnonzero(blue[:, first]).min() > np.flatnonzero(blue[:, last]).max()  # it rises
