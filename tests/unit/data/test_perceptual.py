import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from atelier.data.ingest.perceptual import DISTANCE, Thumbnails, perceptual_hash, small_luma, within
from tests.support.picture_copies import NEAR, Folder, compressed, photographs

words = st.integers(0, 2**64 - 1)
KNOWN = 0xAA2A57356B16651B


def distance(first, second):
    return (perceptual_hash(first) ^ perceptual_hash(second)).bit_count()


def same(*images):
    others = np.arange(1, len(images))
    return Thumbnails(len(images), images.__getitem__).same(0, others).tolist()


@pytest.mark.parametrize("number", range(0, 60, 6))
def test_the_hash_is_the_sign_of_the_lowest_frequencies_about_their_median(number):
    patch = photographs()[number]
    low = dctn(np.asarray(small_luma(patch), np.float64))[:8, :8].ravel()
    expected = low > np.median(low[1:])
    bits = np.array([int(bit) for bit in f"{perceptual_hash(patch):064b}"], bool)
    assert (
        bits != expected
    ).sum() <= 1  # our cosines are integers / 4096; the median itself may fall either way


def test_the_hash_of_a_known_picture_never_changes():
    ramp = (
        np.add.outer(np.arange(28) * 9, np.arange(28) ** 2 // 6)
        .clip(0, 255)
        .astype(np.uint8)[..., None]
    )
    assert perceptual_hash(ramp) == KNOWN


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 500, 3), (37, 31, 3), (28, 28, 1)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_pictures_of_any_shape_have_a_hash_also_if_they_are_of_one_colour(shape, value):
    assert 0 <= perceptual_hash(np.full(shape, value, np.uint8)) < 2**64


@pytest.mark.parametrize("copy", NEAR)
def test_a_copy_has_nearly_the_same_hash_and_another_picture_has_not(copy):
    patches = photographs()
    assert all(distance(patch, copy(patch)) <= DISTANCE for patch in patches)
    others = [distance(patch, other) for patch, other in zip(patches, patches[1:], strict=False)]
    assert np.median(others) > 20


@given(st.lists(words, max_size=50), words, st.integers(0, 64))
def test_all_hashes_within_a_distance_are_found(hashes, phash, bits):
    flipped = [
        phash ^ (1 << bit) for bit in range(0, 64, 9)
    ]  # uniform hashes alone are hardly ever near
    expected = [
        n for n, other in enumerate(hashes + flipped) if (other ^ phash).bit_count() <= bits
    ]
    assert within(np.array(hashes + flipped, np.uint64), phash, bits).tolist() == expected


@pytest.mark.parametrize("copy", NEAR)
def test_a_copy_of_a_photograph_is_confirmed(copy):
    patches = photographs()
    assert all(same(patch, copy(patch))[0] for patch in patches)


def test_no_photograph_is_confirmed_as_another():
    patches = photographs()
    for first in range(len(patches)):
        assert not any(same(*patches[first:])[: len(patches) - first - 1])


def test_a_colour_picture_and_its_grey_copy_are_the_same():
    patch = photographs()[3]
    assert same(patch, np.asarray(small_luma(patch).resize((96, 96)))[..., None]) == [True]


def test_pictures_of_one_colour_are_the_same_as_nothing():
    grey = [np.full((20, 20, 1), value, np.uint8) for value in (128, 128, 129)]
    assert same(*grey, photographs()[0]) == [False, False, False]


def test_outlines_on_a_plain_background_need_more_likeness_than_photographs():
    """Two shirts of one cut, one with a print: what Fashion-MNIST is full of."""
    shirt = np.zeros((28, 28, 1), np.uint8)
    shirt[2:26, 6:22], shirt[2:9, 2:26] = 200, 190
    printed = shirt.copy()
    printed[10:16, 11:17] = 150
    assert np.corrcoef(shirt.ravel(), printed.ravel())[0, 1] > 0.98
    assert same(shirt, printed, (shirt * 0.9).astype(np.uint8)) == [False, True]


def test_a_thumbnail_is_read_once_and_only_if_it_is_needed():
    folder, read = Folder(), []
    for patch in photographs()[:5]:
        folder.add(patch)

    def pixels(number):
        read.append(number)
        return folder.images[number]

    thumbnails = Thumbnails(5, pixels)
    thumbnails.same(0, np.array([2]))
    thumbnails.same(2, np.array([0, 4]))
    assert sorted(read) == [0, 2, 4]


def test_the_order_of_two_pictures_does_not_matter():
    patch = photographs()[7]
    for other in (compressed(patch, 5), compressed(patch, 10), photographs()[8]):
        assert same(patch, other) == same(other, patch)
