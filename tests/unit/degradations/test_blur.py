"""Blur: the kernels, the border, and files of kernels."""

import hashlib

import numpy as np
import pytest
import torch
from scipy import ndimage

from atelier.degradations.blur import read_kernels
from tests.support.degraded import draw, images, one_of_each, saved, two_kernels
from tests.support.places import SHARED


@pytest.fixture(scope="module")
def kernel_file(tmp_path_factory):
    return two_kernels(tmp_path_factory.mktemp("kernels") / "k.npz")


@pytest.fixture(scope="module")
def values(kernel_file):
    """The values of one step of every kind."""
    return one_of_each(kernel_file)


@pytest.mark.parametrize("name", ["gaussian_blur", "box_blur", "motion_blur", "kernel_blur"])
def test_a_blur_keeps_a_constant_and_the_mean_of_a_small_thing_inside(values, name):
    step = {name: values[name]}
    flat_BCHW = torch.full((3, 3, 37, 31), 0.3)
    torch.testing.assert_close(draw(flat_BCHW, step), flat_BCHW)
    point_BCHW = torch.zeros(3, 1, 37, 31)
    point_BCHW[..., 18, 15] = 1.0
    spread_BCHW = draw(point_BCHW, step)
    torch.testing.assert_close(spread_BCHW.sum(dim=(1, 2, 3)), torch.ones(3))
    assert (spread_BCHW.amax(dim=(1, 2, 3)) < 0.8).all()


@pytest.mark.parametrize("height", [37, 4])
def test_gaussian_and_box_blur_equal_scipy(height):
    x_BCHW = images(2, 3, height, 31)
    expected = ndimage.gaussian_filter(x_BCHW.numpy(), (0, 0, 1.7, 1.7), mode="nearest")
    np.testing.assert_allclose(
        draw(x_BCHW, {"gaussian_blur": {"sigma": 1.7}}).numpy(), expected, atol=1e-5
    )
    expected = ndimage.uniform_filter(x_BCHW.numpy(), (1, 1, 5, 5), mode="nearest")
    np.testing.assert_allclose(
        draw(x_BCHW, {"box_blur": {"radius": 2}}).numpy(), expected, atol=1e-5
    )


def test_kernels_of_a_file_are_convolved_with_as_scipy_does_and_all_are_used(kernel_file):
    x_BCHW = images(40)
    y_BCHW = draw(x_BCHW, {"kernel_blur": kernel_file})
    with np.load(kernel_file["path"]) as kernels:
        expected = [
            np.stack(
                [
                    ndimage.convolve(x_HW, kernel.astype(np.float32), mode="nearest")
                    for x_HW in x_BCHW[:, 0].numpy()
                ]
            )
            for kernel in kernels.values()
        ]
    errors_NB = np.array(
        [np.abs(y_BCHW[:, 0].numpy() - y_BHW).max(axis=(1, 2)) for y_BHW in expected]
    )
    assert (errors_NB.min(axis=0) < 1e-5).all()
    assert set(errors_NB.argmin(axis=0)) == {0, 1}


def test_motion_blur_follows_its_angle_and_length():
    point_BCHW = torch.zeros(1, 1, 31, 31)
    point_BCHW[..., 15, 15] = 1.0
    across_HW = draw(point_BCHW, {"motion_blur": {"length": 9, "angle": 0}})[0, 0]
    torch.testing.assert_close(across_HW[15, 11:20], torch.full((9,), 1 / 9))
    upright_HW = draw(point_BCHW, {"motion_blur": {"length": 9, "angle": 90}})[0, 0]
    torch.testing.assert_close(upright_HW, across_HW.T, atol=1e-6, rtol=1e-5)
    rising_HW = draw(point_BCHW, {"motion_blur": {"length": 9, "angle": 45}})[0, 0]
    assert rising_HW[13, 17] > 0.05 and rising_HW[17, 13] > 0.05  # anticlockwise: up on the right
    assert rising_HW[13, 13] == 0 and rising_HW[17, 17] == 0


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.full((3, 4), 1 / 12), r"shape \(3, 4\); a kernel has two odd sides"),
        (np.full(9, 1 / 9), r"shape \(9,\); a kernel has two odd sides"),
        (
            np.full((3, 3), 0.2),
            r"shape \(3, 3\) that is no kernel: its values must be 0 or more and sum to 1",
        ),
        (np.array([[0.0, -1.0, 2.0]]), "that is no kernel"),
        (np.full((3, 3), np.nan), "that is no kernel"),
        (np.array([["a"]]), "that is no kernel"),
    ],
)
def test_what_is_no_kernel_is_refused(tmp_path, kernel, message):
    with pytest.raises(ValueError, match=message):
        read_kernels(**saved(tmp_path / "k.npz", kernel=kernel))


def test_a_file_that_is_missing_or_changed_or_no_numbers_is_refused(tmp_path):
    path = tmp_path / "k.npz"
    with pytest.raises(
        ValueError, match=r"kernel_blur.path = '.*k.npz' can't be read: No such file"
    ):
        read_kernels(str(path), "0" * 64)
    path.write_bytes(b"no numbers")
    with pytest.raises(ValueError, match=r"k.npz' has the sha256 [0-9a-f]{64}, not 0000"):
        read_kernels(str(path), "0" * 64)
    with pytest.raises(ValueError, match="is no .npy or .npz file of numbers"):
        read_kernels(str(path), hashlib.sha256(b"no numbers").hexdigest())
    with pytest.raises(ValueError, match="is no .npy or .npz file of numbers"):
        read_kernels(**saved(path, kernel=np.array([{}])))
    with pytest.raises(ValueError, match="holds no kernel"):
        read_kernels(**saved(path))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_the_shared_motion_kernels_are_read():
    path = SHARED / "kernels" / "levin09.npz"
    kernels_NKK = read_kernels(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    assert kernels_NKK.shape == (8, 27, 27)
    torch.testing.assert_close(kernels_NKK.sum(dim=(1, 2)), torch.ones(8))
