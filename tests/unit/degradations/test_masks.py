"""Masks: where boxes, strokes and missing pixels lie, and how many there are."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from atelier.degradations import degrade_fixed, hidden_pixels
from tests.support.degraded import images

MASKS = [
    {"mask": {"size": [1, 4], "count": [1, 3]}},
    {"strokes": {"width": [1, 3], "count": [1, 3]}},
    {"missing_pixels": {"fraction": [0.1, 0.6]}},
]


@pytest.mark.parametrize("step", MASKS)
def test_a_mask_hides_all_channels_alike_and_says_where(step):
    x_BCHW, steps, seeds = images(20, 3) * 0.4, [step], range(20)
    y_BCHW, hidden_B1HW = (
        degrade_fixed(x_BCHW, steps, seeds),
        hidden_pixels(x_BCHW.shape, steps, seeds),
    )
    assert torch.equal(y_BCHW == 0.5, hidden_B1HW.expand_as(y_BCHW))
    assert torch.equal(y_BCHW[y_BCHW != 0.5], x_BCHW[y_BCHW != 0.5])
    assert hidden_B1HW.flatten(1).any(dim=1).all() and not hidden_B1HW.flatten(1).all(dim=1).any()


def test_boxes_have_every_size_number_and_place_of_their_ranges():
    def hidden(**values):
        return hidden_pixels(torch.Size((3000, 1, 14, 13)), [{"mask": values}], range(3000))[:, 0]

    sizes = {int(math.isqrt(int(area))) for area in hidden(size=[2, 4]).sum(dim=(1, 2)).unique()}
    assert sizes == {2, 3, 4}
    _, num_boxes = zip(
        *(ndimage.label(box) for box in hidden(size=1, count=[1, 3]).numpy()), strict=True
    )
    assert set(num_boxes) == {1, 2, 3}
    corners = {tuple(box.nonzero()[0].tolist()) for box in hidden(size=[12, 13])}
    assert corners == {(top, left) for top in range(3) for left in range(2)}


def test_missing_pixels_are_of_the_asked_share():
    hidden_B1HW = hidden_pixels(
        torch.Size((64, 3, 37, 31)), [{"missing_pixels": {"fraction": 0.3}}], range(64)
    )
    assert hidden_B1HW.float().mean().item() == pytest.approx(0.3, rel=0.02)


def test_a_stroke_is_one_thing_as_wide_as_asked():
    hidden_B1HW = hidden_pixels(torch.Size((50, 1, 67, 71)), [{"strokes": {"width": 6}}], range(50))
    for hidden_HW in hidden_B1HW[:, 0].numpy():
        assert ndimage.label(hidden_HW, np.ones((3, 3)))[1] == 1
        # The centre line is 3 pixels from the edge wherever no bend adds to it and the border cuts
        # nothing off.
        assert 2 <= ndimage.distance_transform_edt(np.pad(hidden_HW, 1))[1:-1, 1:-1].max() <= 7
    areas_B = hidden_B1HW.sum(dim=(1, 2, 3)).float()
    assert areas_B.min() >= 8 and areas_B.std() > 20
