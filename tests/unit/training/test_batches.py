from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.manifest import NO_LABEL
from atelier.data.store import DatasetInfo
from atelier.errors import TrainingError
from atelier.params import Dataset, Source
from atelier.training.batches import Batches
from atelier.training.datasets import ArrayImages, first_images, require_labels, validation_split
from atelier.training.pixels import to_images
from tests.support.stored import store_pictures

CPU = torch.device("cpu")


def numbered(num_images, channels=1, labelled=True):
    """Images whose pixels and label tell their number, so that an order can be read from a
    batch."""
    numbers = np.arange(num_images)
    info = DatasetInfo(16, channels, num_images if labelled else 0, (), {"train": num_images})
    images_NHWC = np.broadcast_to(
        numbers.astype(np.uint8)[:, None, None, None], (num_images, 16, 16, channels)
    )
    if labelled:
        return ArrayImages(info, images_NHWC.copy(), numbers)
    return Unlabelled(info, images_NHWC.copy(), numbers)


class Unlabelled(ArrayImages):
    def labels(self, split):
        return None


def numbers_of(batch):
    x_BCHW, labels_B = batch
    numbers_B = (x_BCHW[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(numbers_B, labels_B)  # an image never loses its label
    return labels_B.tolist()


@given(
    num_images=st.integers(1, 60),
    batch=st.integers(1, 60),
    epochs=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_each_image_is_seen_once_an_epoch_whatever_the_batch_size(num_images, batch, epochs, seed):
    batch = min(batch, num_images)
    batches = Batches(numbered(num_images), "train", batch, seed, CPU)
    stream = [
        n for start in range(0, num_images * epochs, batch) for n in numbers_of(batches.at(start))
    ]
    for epoch in range(epochs):
        assert sorted(stream[epoch * num_images : (epoch + 1) * num_images]) == list(
            range(num_images)
        )


@given(
    num_images=st.integers(1, 60),
    batch=st.integers(1, 60),
    starts=st.lists(st.integers(0, 500), min_size=1),
)
def test_a_batch_is_a_function_of_its_position_alone(num_images, batch, starts):
    batch = min(batch, num_images)
    dataset = numbered(num_images)
    one_by_one = Batches(dataset, "train", 1, 3, CPU)
    stream = [numbers_of(one_by_one.at(position))[0] for position in range(max(starts) + batch)]
    jumping = Batches(dataset, "train", batch, 3, CPU)
    for start in starts:
        assert numbers_of(jumping.at(start)) == stream[start : start + batch]


def test_a_batch_may_cross_the_border_of_two_epochs():
    batches = Batches(numbered(10), "train", 4, 0, CPU)
    first_epoch, second_epoch = (
        numbers_of(batches.at(0)) + numbers_of(batches.at(4)),
        numbers_of(batches.at(10)),
    )
    crossing = numbers_of(batches.at(8))
    assert set(crossing[:2]) == set(range(10)) - set(first_epoch)
    assert crossing[2:] == second_epoch[:2]


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [
        tuple(numbers_of(Batches(numbered(50), "train", 50, seed, CPU).at(start)))
        for seed in (0, 1)
        for start in (0, 50)
    ]
    assert len({*orders, tuple(range(50))}) == 5


def test_a_dataset_smaller_than_a_batch_is_refused():
    Batches(numbered(8), "train", 8, 0, CPU)
    with pytest.raises(
        TrainingError, match=r"train split .* has 7 images, fewer than batch_size = 8\. .*lower"
    ):
        Batches(numbered(7), "train", 8, 0, CPU)


def test_a_dataset_without_labels_gives_class_zero():
    _, labels_B = Batches(numbered(9, labelled=False), "train", 4, 0, CPU).at(6)
    assert labels_B.tolist() == [0, 0, 0, 0]
    assert labels_B.dtype == torch.int64


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_float32_in_the_unit_range_and_channels_last(channels):
    pixels_BHWC = np.random.default_rng(0).integers(0, 256, (5, 37, 31, channels), np.uint8)
    pixels_BHWC[0, 0, 0], pixels_BHWC[0, 0, 1] = 0, 255
    x_BCHW = to_images(pixels_BHWC, CPU)
    assert x_BCHW.shape == (5, channels, 37, 31)
    assert x_BCHW.dtype == torch.float32
    assert x_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert (x_BCHW.min(), x_BCHW.max()) == (0, 1)
    np.testing.assert_array_equal((x_BCHW.permute(0, 2, 3, 1) * 255).round().numpy(), pixels_BHWC)


def test_pixels_that_only_view_a_larger_array_are_converted_too():
    pixels_BHWC = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    assert torch.equal(
        to_images(pixels_BHWC[::-1, ::2], CPU), to_images(pixels_BHWC[::-1, ::2].copy(), CPU)
    )


def test_converting_leaves_the_stored_pixels_alone():
    pixels_BHWC = np.full((2, 8, 8, 1), 200, np.uint8)
    to_images(pixels_BHWC, CPU).zero_()
    assert (pixels_BHWC == 200).all()


def test_batches_of_stored_data_are_its_images_with_their_labels(fashion):
    x_BCHW, labels_B = Batches(fashion, "train", 64, 0, CPU).at(fashion.info.counts["train"] - 10)
    by_pixels = {
        fashion.images("train")[i].tobytes(): int(label)
        for i, label in enumerate(fashion.labels("train"))
    }
    pixels_BHWC = (x_BCHW.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    assert [by_pixels[image.tobytes()] for image in pixels_BHWC] == labels_B.tolist()


def test_pictures_outside_of_every_class_are_refused_with_their_number():
    complete = numbered(9)
    require_labels(complete)
    require_labels(numbered(9, labelled=False))
    complete.labels_N[[2, 5, 7]] = NO_LABEL
    with pytest.raises(
        TrainingError, match="3 of the 9 pictures of the train split lie outside of every class"
    ):
        require_labels(complete)


def test_pictures_outside_of_every_class_are_refused_in_any_split():
    class OnlyInTest(ArrayImages):
        def labels(self, split):
            return np.array([0, NO_LABEL]) if split == "test" else np.array([0, 1])

    whole = numbered(2)
    with pytest.raises(TrainingError, match="1 of the 2 pictures of the test split"):
        require_labels(OnlyInTest(whole.info, whole.images_NHWC, whole.labels_N))


# -- crops and a part of the data --------------------------------------------------------------


def located(sizes):
    """Images whose pixels tell image, row and column, so that a crop's place can be read from
    it."""
    grids = [np.mgrid[0:height, 0:width].astype(np.uint8) for height, width in sizes]
    return [
        np.stack([np.full_like(rows, n), rows, columns], axis=-1)
        for n, (rows, columns) in enumerate(grids)
    ]


@pytest.fixture(scope="module")
def of_own_size(tmp_path_factory):
    """A stored dataset of nine such images of differing sizes."""
    sizes = [
        (16, 40),
        (40, 16),
        (16, 16),
        (31, 37),
        (37, 31),
        (17, 90),
        (90, 17),
        (64, 64),
        (20, 20),
    ]
    dataset = Dataset(sources=(Source(source="folder", path="raw"),), channels=3, min_size=16)
    pictures = [(pixels_HWC, "", "train") for pixels_HWC in located(sizes)]
    return store_pictures(tmp_path_factory.mktemp("located"), "located", dataset, pictures)


def places_of(x_BCHW):
    """(image, top, left) of each crop, after a look at every pixel of it."""
    pixels_BCHW = (x_BCHW * 255).round().long()
    size = pixels_BCHW.shape[-1]
    rows_HW, columns_HW = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    corners_B3 = pixels_BCHW[:, :, 0, 0]
    offsets_CHW = torch.stack([torch.zeros_like(rows_HW), rows_HW, columns_HW])
    assert torch.equal(pixels_BCHW, corners_B3[:, :, None, None] + offsets_CHW)
    return [tuple(corner) for corner in corners_B3.tolist()]


def test_crops_are_pieces_of_each_image_at_random_places(of_own_size):
    batches = Batches(of_own_size, "train", 9, 0, CPU, crop_size=16)
    found = [place for epoch in range(200) for place in places_of(batches.at(9 * epoch)[0])]
    assert Counter(image for image, _, _ in found) == dict.fromkeys(range(9), 200)
    images = {
        int(pixels[0, 0, 0]): pixels.shape
        for pixels in map(of_own_size.images("train").__getitem__, range(9))
    }
    for image, (height, width, _) in images.items():
        for axis, side in ((1, height), (2, width)):
            corners = [place[axis] for place in found if place[0] == image]
            assert (min(corners) < 0.1 * (side - 15), max(corners) >= 0.9 * (side - 16)) == (
                True,
                True,
            )
            assert max(corners) <= side - 16
            assert (
                abs(np.mean(corners) - (side - 16) / 2) < (side - 15) / 10
            )  # 5 standard deviations


@given(
    batch=st.integers(1, 9),
    starts=st.lists(st.integers(0, 100), min_size=1),
    limit=st.sampled_from([None, 9, 12]),
)
def test_a_crop_is_a_function_of_its_position_alone(of_own_size, batch, starts, limit):
    one_by_one = Batches(of_own_size, "train", 1, 3, CPU, crop_size=16)
    stream = [places_of(one_by_one.at(position)[0])[0] for position in range(max(starts) + batch)]
    jumping = Batches(of_own_size, "train", batch, 3, CPU, crop_size=16, limit=limit)
    for start in starts:
        assert places_of(jumping.at(start)[0]) == stream[start : start + batch]


def test_crops_and_whole_images_come_in_the_same_order(fashion):
    whole, cut = (Batches(fashion, "train", 64, 5, CPU, crop_size) for crop_size in (None, 28))
    for start in (0, 1000):
        assert all(torch.equal(*pair) for pair in zip(whole.at(start), cut.at(start), strict=True))


def test_crops_of_an_array_equal_those_of_stored_images(fashion):
    arrays = ArrayImages(fashion.info, fashion.images("train")[:], fashion.labels("train"))
    stored, in_memory = (
        Batches(images, "train", 64, 5, CPU, crop_size=20) for images in (fashion, arrays)
    )
    for start in (0, 1000):
        x_BCHW, labels_B = in_memory.at(start)
        assert x_BCHW.shape == (64, 1, 20, 20)
        assert torch.equal(x_BCHW, stored.at(start)[0])
        assert torch.equal(labels_B, stored.at(start)[1])


def test_images_of_differing_sizes_are_refused_whole(of_own_size):
    with pytest.raises(ValueError, match="differ in size"):
        Batches(of_own_size, "train", 2, 0, CPU).at(0)


def test_a_limit_takes_the_first_images_nested_and_the_same_for_every_seed(fashion):
    def seen(limit, seed=0):
        batches = Batches(fashion, "train", 10, seed, CPU, limit=limit)
        pixels = [batches.at(start)[0] for start in range(0, 3 * limit, 10)]
        return {image.numpy().tobytes() for batch in pixels for image in batch}

    assert [len(seen(limit)) for limit in (10, 25, 100)] == [10, 25, 100]
    assert seen(10) < seen(25) < seen(100)
    assert seen(25, seed=1) == seen(25)
    first_NCHW = to_images(fashion.images("train")[:25], CPU)
    assert seen(25) == {image.numpy().tobytes() for image in first_NCHW}


def test_a_limit_keeps_the_shares_of_the_classes(fashion):
    labels_N = fashion.labels("train")
    shares, kept = (
        np.bincount(part, minlength=10) / len(part) for part in (labels_N, labels_N[:150])
    )
    assert np.abs(shares - kept).max() < 4 * np.sqrt(
        0.1 * 0.9 / 150
    )  # standard deviations of a random choice


def test_a_limit_above_the_number_of_images_is_the_whole(fashion):
    whole, limited = (Batches(fashion, "train", 64, 0, CPU, limit=limit) for limit in (None, 10**6))
    assert torch.equal(whole.at(500)[0], limited.at(500)[0])


def test_a_limit_below_the_batch_is_refused():
    with pytest.raises(TrainingError, match="has 5 images, fewer than batch_size = 6"):
        Batches(numbered(9), "train", 6, 0, CPU, limit=5)


def test_the_first_images_are_whole_or_their_centres(of_own_size, fashion):
    np.testing.assert_array_equal(
        first_images(fashion, "test", 7, None), fashion.images("test")[:7]
    )
    np.testing.assert_array_equal(
        first_images(fashion, "test", 7, 20), fashion.images("test")[:7][:, 4:24, 4:24]
    )
    cut = first_images(of_own_size, "train", 100, 16)
    for pixels_HWC, (image, top, left) in zip(
        (of_own_size.images("train")[i] for i in range(9)),
        places_of(to_images(cut, CPU)),
        strict=True,
    ):
        height, width, _ = pixels_HWC.shape
        assert (image, top, left) == (pixels_HWC[0, 0, 0], (height - 16) // 2, (width - 16) // 2)


def test_a_training_is_watched_on_its_own_images_where_there_are_no_others(of_own_size, fashion):
    assert (validation_split(fashion), validation_split(of_own_size)) == ("validation", "train")


def test_batches_cut_out_on_the_device_are_the_same(of_own_size, fashion):
    """Where the pixels fit onto a GPU they are copied there once.

    The cutting is the same on a CPU.
    """
    for dataset, crop_size in ((of_own_size, 16), (fashion, None), (fashion, 20)):
        stored, resident = (
            Batches(
                dataset, "train", 7, 3, torch.device("cpu"), crop_size, limit=20, resident=where
            )
            for where in (False, True)
        )
        for start in (0, 7, 14, 100):
            assert torch.equal(resident.at(start)[0], stored.at(start)[0])
            assert torch.equal(resident.at(start)[1], stored.at(start)[1])
