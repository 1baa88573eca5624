import numpy as np
import pytest
import skimage.data
import torch
from scipy import ndimage
from torch.nn import functional

from atelier.params import Augment
from atelier.training.augmentation import CUTOUT_FILL, augmented

NUM_IMAGES = 400
EACH = [{"flip": True}, {"quarter_turns": True}, {"rotate": 20.0}, {"crop": 3}, {"cutout": 5}]
ALL = {key: value for one in EACH for key, value in one.items()}


@pytest.fixture(params=[(1, 24, 24), (3, 31, 37)], ids=["square grey", "37x31 colour"])
def x_BCHW(request):
    shape = (NUM_IMAGES, *request.param)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)).contiguous(
        memory_format=torch.channels_last
    )


@pytest.fixture
def squares():
    return torch.rand((NUM_IMAGES, 3, 24, 24), generator=torch.Generator().manual_seed(1))


def changed(x_BCHW, seed=0, **augment):
    return augmented(x_BCHW, Augment(**augment), torch.Generator().manual_seed(seed))


def which(results, x_BCHW):
    """For each image the number of the one candidate that it equals."""
    equal_KB = torch.stack([(candidate == x_BCHW).flatten(1).all(1) for candidate in results])
    assert (equal_KB.sum(0) == 1).all()
    return equal_KB.int().argmax(0)


def test_by_default_images_and_generator_stay_as_they_are(x_BCHW):
    rng = torch.Generator().manual_seed(5)
    before = rng.get_state()
    assert augmented(x_BCHW, Augment(), rng) is x_BCHW
    assert torch.equal(rng.get_state(), before)


@pytest.mark.parametrize("augment", [*EACH, ALL], ids=lambda augment: " ".join(augment))
def test_the_result_is_a_function_of_the_images_and_the_generator(squares, augment):
    one, same, other = (changed(squares, seed, **augment) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("augment", [*EACH, ALL], ids=lambda augment: " ".join(augment))
def test_shape_range_and_layout_are_kept(squares, augment):
    before = squares.clone()
    result_BCHW = changed(squares, **augment)
    assert result_BCHW.shape == squares.shape
    assert (result_BCHW.min() >= 0, result_BCHW.max() <= 1) == (True, True)
    assert result_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(squares, before)  # of the images themselves nothing is changed


def test_flipping_mirrors_about_half_of_the_images_left_to_right(x_BCHW):
    choice_B = which([x_BCHW, x_BCHW.flip(-1)], changed(x_BCHW, flip=True))
    assert 160 < choice_B.sum() < 240  # 4 standard deviations about 200


def test_quarter_turns_are_exact_and_equally_frequent(squares):
    turned = [squares.rot90(turns, (-2, -1)) for turns in range(4)]
    counts = which(turned, changed(squares, quarter_turns=True)).bincount(minlength=4)
    assert counts.sum() == NUM_IMAGES
    assert (counts > 65).all()  # 4 standard deviations below 100


def test_flips_and_quarter_turns_give_all_eight_orientations(squares):
    seen = [
        image.rot90(turns, (-2, -1)) for image in (squares, squares.flip(-1)) for turns in range(4)
    ]
    assert len(which(seen, changed(squares, flip=True, quarter_turns=True)).unique()) == 8


@pytest.mark.parametrize(("height", "width"), [(101, 101), (81, 121)])
def test_rotating_turns_about_the_centre_by_up_to_the_angle(height, width):
    photo_HW = ndimage.gaussian_filter(skimage.data.camera().astype(np.float64) / 255, 2)[
        100:, 150:
    ][:height, :width]
    x_BCHW = torch.from_numpy(photo_HW).float().expand(40, 1, height, width)
    result_BCHW = changed(x_BCHW, rotate=20.0)
    centre = np.s_[height // 4 : -height // 4, width // 4 : -width // 4]
    angles = np.arange(-22, 22.1, 0.5)
    turned = [
        ndimage.rotate(photo_HW, angle, reshape=False, order=1, mode="mirror")[centre]
        for angle in angles
    ]
    found = []
    for image_HW in result_BCHW[:, 0].numpy().astype(np.float64):
        errors = [np.abs(candidate - image_HW[centre]).mean() for candidate in turned]
        found.append(angles[np.argmin(errors)])
        assert min(errors) < 0.004  # of the range: half a step of the angles, and interpolation
    assert np.abs(found).max() <= 20.25
    assert (min(found) < -14, max(found) > 14) == (True, True)
    assert len(set(found)) > 15


def test_what_comes_in_over_the_border_is_mirrored_not_black():
    assert changed(torch.full((50, 1, 20, 30), 0.7), rotate=45.0).min() > 0.699


def test_cropping_shifts_a_mirrored_continuation_by_up_to_its_pixels(x_BCHW):
    padded_BCHW = functional.pad(x_BCHW, (3, 3, 3, 3), mode="reflect")
    height, width = x_BCHW.shape[-2:]
    shifts = [(top, left) for top in range(7) for left in range(7)]
    windows = [padded_BCHW[..., top : top + height, left : left + width] for top, left in shifts]
    assert (
        len(which(windows, changed(x_BCHW, crop=3)).unique()) >= 47
    )  # of 49; each is expected 8 times


@pytest.mark.parametrize("size", [1, 5, 8])
def test_cutting_out_fills_one_box_about_any_pixel(x_BCHW, size):
    result_BCHW = changed(x_BCHW, cutout=size)
    height, width = x_BCHW.shape[-2:]
    centres = set()
    for image_CHW, result_CHW in zip(x_BCHW, result_BCHW, strict=True):
        rows, columns = (result_CHW != image_CHW).all(0).nonzero(as_tuple=True)
        box = np.s_[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (result_CHW[box] == CUTOUT_FILL).all()
        outside_CHW = result_CHW.clone()
        outside_CHW[box] = image_CHW[box]
        assert torch.equal(outside_CHW, image_CHW)
        for first, last, side in (
            (rows.min(), rows.max(), height),
            (columns.min(), columns.max(), width),
        ):
            assert (
                last - first + 1 == size or first == 0 or last == side - 1
            )  # over the border it is cut
            assert last - first + 1 >= min(size, (size + 1) // 2)
        centres.add((int(rows.min()), int(columns.min())))
    assert len(centres) > 100
