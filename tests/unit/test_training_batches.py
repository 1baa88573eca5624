import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.data.store import NO_LABEL, DatasetInfo
from atelier.errors import TrainingError
from atelier.training.batches import ArrayImages, Batches, flip_at_random, require_labels, to_images

CPU = torch.device("cpu")


def numbered(num_images, channels=1, labelled=True):
    """Images whose pixels and label tell their number, so that an order can be read from a batch."""
    numbers = np.arange(num_images)
    info = DatasetInfo(16, channels, num_images if labelled else 0, (), {"train": num_images})
    images_NHWC = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (num_images, 16, 16, channels))
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


@settings(max_examples=60, deadline=None)
@given(num_images=st.integers(1, 60), batch=st.integers(1, 60), epochs=st.integers(1, 4), seed=st.integers(0, 9))
def test_each_image_is_seen_once_an_epoch_whatever_the_batch_size(num_images, batch, epochs, seed):
    batch = min(batch, num_images)
    batches = Batches(numbered(num_images), "train", batch, seed, CPU)
    stream = [n for start in range(0, num_images * epochs, batch) for n in numbers_of(batches.at(start))]
    for epoch in range(epochs):
        assert sorted(stream[epoch * num_images : (epoch + 1) * num_images]) == list(range(num_images))


@settings(max_examples=60, deadline=None)
@given(num_images=st.integers(1, 60), batch=st.integers(1, 60), starts=st.lists(st.integers(0, 500), min_size=1))
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
    first_epoch, second_epoch = numbers_of(batches.at(0)) + numbers_of(batches.at(4)), numbers_of(batches.at(10))
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
    with pytest.raises(TrainingError, match=r"train split .* has 7 images, fewer than batch_size = 8\. .*lower"):
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
    assert torch.equal(to_images(pixels_BHWC[::-1, ::2], CPU), to_images(pixels_BHWC[::-1, ::2].copy(), CPU))


def test_converting_leaves_the_stored_pixels_alone():
    pixels_BHWC = np.full((2, 8, 8, 1), 200, np.uint8)
    to_images(pixels_BHWC, CPU).zero_()
    assert (pixels_BHWC == 200).all()


def test_batches_of_stored_data_are_its_images_with_their_labels(fashion):
    x_BCHW, labels_B = Batches(fashion, "train", 64, 0, CPU).at(fashion.info.counts["train"] - 10)
    by_pixels = {fashion.images("train")[i].tobytes(): int(label) for i, label in enumerate(fashion.labels("train"))}
    pixels_BHWC = (x_BCHW.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    assert [by_pixels[image.tobytes()] for image in pixels_BHWC] == labels_B.tolist()


def test_pictures_outside_of_every_class_are_refused_with_their_number():
    complete = numbered(9)
    require_labels(complete)
    require_labels(numbered(9, labelled=False))
    complete.labels_N[[2, 5, 7]] = NO_LABEL
    with pytest.raises(TrainingError, match="3 of the 9 pictures of the train split lie outside of every class"):
        require_labels(complete)


def test_pictures_outside_of_every_class_are_refused_in_any_split():
    class OnlyInTest(ArrayImages):
        def labels(self, split):
            return np.array([0, NO_LABEL]) if split == "test" else np.array([0, 1])

    whole = numbered(2)
    with pytest.raises(TrainingError, match="1 of the 2 pictures of the test split"):
        require_labels(OnlyInTest(whole.info, whole.images_NHWC, whole.labels_N))


def test_flipping_mirrors_about_half_of_the_images_left_to_right():
    x_BCHW = torch.rand(1000, 1, 2, 3)
    flipped_BCHW = flip_at_random(x_BCHW, torch.Generator().manual_seed(0))
    mirrored_B = (flipped_BCHW == x_BCHW.flip(-1)).flatten(1).all(1)
    same_B = (flipped_BCHW == x_BCHW).flatten(1).all(1)
    assert (mirrored_B ^ same_B).all()
    assert 440 < mirrored_B.sum() < 560  # 3.8 standard deviations about 500


def test_flipping_is_a_function_of_its_generator():
    x_BCHW = torch.rand(50, 3, 4, 5)
    results = [flip_at_random(x_BCHW, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_flipping_keeps_the_memory_layout():
    x_BCHW = torch.rand(8, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert flip_at_random(x_BCHW, torch.Generator()).is_contiguous(memory_format=torch.channels_last)
