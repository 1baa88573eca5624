"""Images as files and grids for people to look at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.errors import UsageError
from atelier.pictures import encode_picture, grid, to_pixels


def noise(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def floats(pixels_HWC):
    return np.moveaxis(pixels_HWC.astype(np.float32) / 255, -1, 0)[None]


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 2**32))
def test_pixels_survive_the_way_to_floats_and_back(height, width, channels, seed):
    pixels_HWC = noise(height, width, channels, seed)
    np.testing.assert_array_equal(to_pixels(floats(pixels_HWC))[0], pixels_HWC)


def test_pixels_are_rounded_to_nearest_and_clipped():
    x_NCHW = np.array(
        [-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.0, 7.0], np.float32
    ).reshape(1, 1, 1, 7)
    assert to_pixels(x_NCHW).ravel().tolist() == [0, 0, 0, 1, 255, 255, 255]


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([1, 3]),
)
def test_a_grid_shows_every_image_in_its_place_on_white(count, columns, margin, scale, channels):
    images_NHWC = np.stack([noise(3, 5, channels, seed) for seed in range(count)])
    picture = grid(np.moveaxis(images_NHWC, -1, 1).astype(np.float32) / 255, columns, margin, scale)
    rows = -(-count // columns)
    assert picture.shape == (
        rows * (3 * scale + margin) + margin,
        columns * (5 * scale + margin) + margin,
        channels,
    )
    seen = np.zeros(picture.shape, bool)
    for index, image in enumerate(images_NHWC):
        top = margin + index // columns * (3 * scale + margin)
        left = margin + index % columns * (5 * scale + margin)
        area = slice(top, top + 3 * scale), slice(left, left + 5 * scale)
        np.testing.assert_array_equal(picture[area][::scale, ::scale], image)
        np.testing.assert_array_equal(picture[area][scale - 1 :: scale, scale - 1 :: scale], image)
        seen[area] = True
    assert (picture[~seen] == 255).all()


def test_a_name_without_the_ending_of_a_picture_is_refused(tmp_path):
    for name, expected in (
        ("a.xyz", r"a\.xyz: \.xyz is no picture format\. Use \.png or \.jpg\."),
        ("a", r"a: no ending is no picture format"),
    ):
        with pytest.raises(UsageError, match=expected):
            encode_picture(noise(3, 3, 3), tmp_path / name)
