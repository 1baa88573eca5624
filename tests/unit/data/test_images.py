import sys
from pathlib import Path

import numpy as np
import pytest

from atelier.data import images as module
from atelier.data.store import read_dataset
from atelier.params import Dataset, Source
from tests.support.stored import store_pictures

NUM_BYTES = 48 * 2**20


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A project with 48 MB of images, each a megabyte, of one colour of its own."""
    dataset = Dataset(sources=(Source(source="folder", path="raw"),), channels=1)
    pictures = [
        (np.full((1024, 1024, 1), i, np.uint8), "", "train") for i in range(NUM_BYTES // 2**20)
    ]
    project = tmp_path_factory.mktemp("large")
    store_pictures(project, "large", dataset, pictures)
    return project


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["whole images", "crops"])
def test_reading_everything_keeps_little_in_memory(large, monkeypatch, how):
    def growth(limit):
        monkeypatch.setattr(module, "RESIDENT_BYTES", limit)
        images = read_dataset(large, "large").images("train")
        before, largest = resident_bytes(), 0
        for i in range(len(images)):
            for top in range(0, 1024, 32):
                part = images[i] if how == "whole images" else images[i, top : top + 32, 0:32]
                part[top::32].sum() if how == "whole images" else part.sum()
                largest = max(largest, resident_bytes() - before)
        return largest

    assert growth(10 * NUM_BYTES * 32) > 0.9 * NUM_BYTES  # without a limit all of it stays
    assert (
        growth(2 * NUM_BYTES) > 0.9 * NUM_BYTES
    )  # as it all fits within this limit, nothing is given back
    assert growth(4 * 2**20) < 10 * 2**20


def test_views_stay_valid_when_pages_are_given_back(large, monkeypatch):
    monkeypatch.setattr(module, "RESIDENT_BYTES", 2**20)
    images = read_dataset(large, "large").images("train")
    views = [images[i] for i in range(len(images))]
    assert sorted(int(view[0, 0, 0]) for view in views) == list(range(len(images)))
    assert all((view == view[0, 0, 0]).all() for view in views)


def test_images_are_indexed_like_an_array(fashion):
    images, array = fashion.images("train"), fashion.images("train")[:]
    assert images.shape == array.shape
    order = np.random.default_rng(0).permutation(len(images))
    for index in (
        3,
        np.int64(5),
        -1,
        slice(2, 9, 3),
        order,
        order[:0],
        (4, slice(3, 20), slice(5, 28)),
    ):
        np.testing.assert_array_equal(images[index], array[index])


def test_photographs_are_read_one_at_a_time_or_as_crops(photos):
    images = photos.images("test")
    for i in range(len(images)):
        assert images[i].shape == (*images.sizes_N2[i], 3)
        np.testing.assert_array_equal(images[i, 7:31, 4:40], images[i][7:31, 4:40])
    with pytest.raises(ValueError, match="these images differ in size"):
        images[:2]
