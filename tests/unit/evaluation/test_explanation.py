import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from atelier.evaluation.explanation import (
    NUM_EXPLAINED,
    class_maps,
    error_maps,
    explain_classifier,
    explain_generator,
    explain_restorer,
    heat,
    interpolations,
    local_attribution,
)
from atelier.networks.classifiers import build_classifier
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer

CPU = torch.device("cpu")
NOISE, HALF = [{"noise": {"sigma": 0.1}}], [{"downsample": {"factor": 2}}]


def test_details_of_the_middle_come_from_where_the_network_takes_them():
    """A network that shows the left neighbour at a distance of ten pixels takes the patch from
    there."""

    class Shift(nn.Module):
        def forward(self, y_BCHW):
            return y_BCHW.roll(10, dims=-1)

    y = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    shares_HW = local_attribution(Shift(), y)
    assert shares_HW.shape == (32, 32)
    assert shares_HW.sum() == pytest.approx(1, rel=1e-4)
    assert shares_HW[12:20, 2:10].sum() == pytest.approx(
        1, rel=1e-4
    )  # the central patch is 12:20, 12:20


def test_a_wider_network_takes_its_details_from_farther_away():
    y = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))

    class Mean(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.size = size

        def forward(self, y_BCHW):
            return nn.functional.avg_pool2d(y_BCHW, self.size, 1, self.size // 2)

    outside = [1 - local_attribution(Mean(size), y)[20:28, 20:28].sum() for size in (1, 5, 13)]
    assert outside[0] == pytest.approx(0, abs=1e-4)
    assert outside[0] < outside[1] < outside[2]


def test_grad_cam_finds_the_part_that_decides():
    """A classifier of bright spots: class 1 if there is one, wherever it is."""

    class Spots(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
            nn.init.ones_(self.body[0].weight)

        def forward(self, x_BCHW):
            evidence_B = self.body(x_BCHW).mean(dim=(1, 2, 3))
            return torch.stack([-evidence_B, evidence_B], dim=1)

    x = torch.zeros(2, 1, 16, 16)
    x[0, 0, 2:5, 2:5] = x[1, 0, 10:13, 11:14] = 1
    network = Spots().requires_grad_(False)
    picture = class_maps(network, x, np.array([1, 1]))
    maps = picture[2 + 34 :, :, 0].astype(
        int
    )  # below the images; each pixel is 2 x 2, with a margin of 2
    first, second = maps[:32, 2:34], maps[:32, 36:68]
    assert np.unravel_index(first.argmax(), first.shape) < (12, 12)
    assert (
        first[20:, 20:].max() == 0
        and second[:16, :16].max() == 0
        and second[20:26, 22:28].min() == 255
    )
    assert not any(weight.requires_grad for weight in network.parameters())  # as it was


def test_errors_are_shown_where_they_are():
    clean = np.full((1, 1, 8, 8), 0.5, np.float32)
    restored = clean.copy()
    restored[0, 0, 6, 1] = 0.75
    picture = error_maps(clean, clean, restored)
    errors = picture[2 + 3 * 18 :, 2:18]  # the fourth line
    assert (errors[12:14, 2:4] == 255).all()
    errors[12:14, 2:4] = 0
    assert errors[:16].max() == 0


def test_heat_goes_from_black_over_red_and_yellow_to_white():
    colours = heat(np.array([[[0, 1 / 3, 2 / 3, 1, 2]]]))[0, :, 0].T
    np.testing.assert_allclose(
        colours, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]], atol=1e-6
    )


def test_interpolations_begin_and_end_at_their_latents_and_change_in_between():
    torch.manual_seed(0)
    generator = build_generator(
        "dcgan", width=4, latent_dim=8, channels=1, image_size=28, num_classes=3
    ).eval()
    picture = interpolations(generator, 8, [0, 2], seed=5, steps=4)
    assert picture.shape == (2 + 2 * 58, 2 + 4 * 58, 1)
    start_Z, end_Z = torch.randn(2, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        ends = generator(torch.stack([start_Z, end_Z]), torch.tensor([0, 0])) * 0.5 + 0.5
    for x_CHW, left in zip(ends, (2, 2 + 3 * 58), strict=True):
        shown = picture[2:58:2, left : left + 56 : 2, 0] / 255
        np.testing.assert_allclose(shown, x_CHW[0].clamp(0, 1).numpy(), atol=0.003)
    assert (
        explain_generator(generator, {"num_classes": 3, "latent_dim": 8}, 0)[
            "interpolation.png"
        ].shape[0]
        == 176
    )


@pytest.mark.parametrize(
    ("steps", "network"),
    [
        (NOISE, {"name": "cnn", "width": 4, "depth": 2, "noise_level": True}),
        (HALF, {"name": "resnet_sr", "width": 4, "blocks": 1, "upscale": 2}),
        ([{"decolourise": {}}], {"name": "crnn", "width": 4, "iterations": 2}),
    ],
    ids=["told the level", "twice as large", "recurrent, colour"],
)
def test_restorers_of_photographs_are_explained_on_their_worst_images(photos, steps, network):
    torch.manual_seed(0)
    restorer = build_restorer(**network, channels=3).eval().requires_grad_(False)
    units = pd.DataFrame({"unit": photos.hashes("test"), "psnr": np.arange(18.0)[::-1]})
    pictures = explain_restorer(restorer, steps, photos, units, CPU)
    assert set(pictures) == {"errors.png", "attribution.png"}
    for picture in pictures.values():
        assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.std() > 10
    again = explain_restorer(restorer, steps, photos, units, CPU)
    assert all(np.array_equal(pictures[name], again[name]) for name in pictures)


def test_a_classifier_is_explained_on_what_it_takes_for_something_else(fashion):
    torch.manual_seed(0)
    classifier = (
        build_classifier("cnn", channels=1, num_classes=10, image_size=28, width=4)
        .eval()
        .requires_grad_(False)
    )
    units = pd.DataFrame({"unit": fashion.hashes("test"), "accuracy": [1.0, 0.0] * 200})
    (picture,) = explain_classifier(classifier, fashion, units, CPU).values()
    assert picture.shape == (2 + 2 * 58, 2 + NUM_EXPLAINED * 58, 3)
