import numpy as np
import pytest
import torch

from atelier.data.store import DatasetInfo
from atelier.errors import TrainingError
from atelier.training import extension
from atelier.training.batches import Batches, training_batches
from atelier.training.checkpoint import Checkpoints
from atelier.training.datasets import ArrayImages
from atelier.training.extension import ExtendedImages, draw_images, read_images
from atelier.training.pixels import JoinedPixels, sizes_of, to_images
from atelier.training.restoration import train_restorer
from atelier.training.session import Session
from tests.support.tiny import BATCH, CNN, NOISE, ignore, tiny_model

CPU = torch.device("cpu")
INFO = DatasetInfo(28, 1, 10, tuple("abcdefghij"), {})


def noise(num_images, seed):
    """What a generator would draw: images in [0, 1] that their seed determines."""
    return np.random.default_rng(seed).random((num_images, 1, 28, 28), np.float32)


@pytest.fixture
def drawn(tmp_path):
    draw_images(noise, (60, 28, 28, 1), 7, tmp_path / "new" / "generated.bin")
    return read_images(tmp_path / "new" / "generated.bin", INFO)


def test_generated_images_are_stored_as_bytes_and_drawn_alike_from_one_seed(drawn, tmp_path):
    assert (drawn.shape, drawn.dtype) == ((60, 28, 28, 1), np.uint8)
    again, other = tmp_path / "again.bin", tmp_path / "other.bin"
    draw_images(noise, drawn.shape, 7, again)
    draw_images(noise, drawn.shape, 8, other)
    assert again.read_bytes() == drawn.tobytes() != other.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again.bin",
        "new",
        "other.bin",
    ]  # nothing left behind


def test_images_are_drawn_in_parts_with_seeds_of_their_own(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(extension, "CHUNK", 25)

    def listening(num_images, seed):
        asked.append((num_images, seed))
        return noise(num_images, seed)

    draw_images(listening, (60, 28, 28, 1), 7, tmp_path / "generated.bin")
    assert [num_images for num_images, _ in asked] == [25, 25, 10]
    assert len({seed for _, seed in asked}) == 3
    assert np.array_equal(
        read_images(tmp_path / "generated.bin", INFO)[25:50], to_bytes(noise(*asked[1]))
    )
    draw_images(listening, (60, 28, 28, 1), 7, tmp_path / "generated.bin")
    assert len(asked) == 3  # they are there
    draw_images(listening, (61, 28, 28, 1), 7, tmp_path / "generated.bin")
    assert len(asked) == 6


def to_bytes(x_NCHW):
    return (np.moveaxis(x_NCHW, 1, -1) * 255).round().astype(np.uint8)


def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="generated.bin can't be written"):
        draw_images(noise, (2, 28, 28, 1), 7, tmp_path / "file" / "generated.bin")


def test_stored_and_generated_images_are_read_as_one_array(fashion, drawn):
    stored = fashion.images("train")
    joined, array = JoinedPixels(stored, 100, drawn), np.concatenate([stored[:100], drawn])
    assert (len(joined), joined.shape, joined.channels) == (160, array.shape, 1)
    assert np.array_equal(sizes_of(joined), sizes_of(array))
    for index in (
        0,
        99,
        100,
        np.int64(159),
        slice(95, 105),
        slice(0, 0),
        np.array([159, 0, 100, 99, 0]),
    ):
        assert np.array_equal(joined[index], array[index])
    for image in (99, np.int64(100)):
        assert np.array_equal(joined[image, 3:9, 5:28], array[image, 3:9, 5:28])


@pytest.mark.parametrize("crop_size", [None, 20])
@pytest.mark.parametrize("limit", [None, 100])
def test_batches_mix_both_as_a_function_of_their_position_alone(fashion, drawn, crop_size, limit):
    model = tiny_model(
        "cnn", data={"limit": limit} if limit else {}, training={"crop_size": crop_size}
    )
    session = Session(
        CPU,
        7,
        Checkpoints(fashion.shards.locate("none"), "tiny"),
        ignore,
        ignore,
        generated_GHWC=drawn,
    )
    array = np.concatenate([fashion.images("train")[:limit], drawn])
    whole = ArrayImages(INFO, array, np.zeros(len(array), np.int64))
    expected, batches = (
        Batches(whole, "train", BATCH, 7, CPU, crop_size),
        training_batches(model, fashion, session),
    )
    for position in (0, 3 * BATCH, 40 * BATCH, BATCH):  # across epochs, and back
        assert torch.equal(batches.at(position)[0], expected.at(position)[0])
    resident = Batches(
        ExtendedImages(fashion, limit, drawn), "train", BATCH, 7, CPU, crop_size, resident=True
    )
    assert torch.equal(resident.at(48)[0], expected.at(48)[0])


def test_every_stored_and_every_generated_image_is_seen_once_an_epoch(fashion, drawn):
    batches = Batches(ExtendedImages(fashion, 4, drawn), "train", 16, 7, CPU)
    x_NCHW = torch.cat([batches.at(start)[0] for start in range(0, 64, 16)])
    seen = sorted(x_CHW.numpy().tobytes() for x_CHW in x_NCHW)
    both = to_images(np.concatenate([fashion.images("train")[:4], drawn]), CPU).contiguous()
    assert seen == sorted(x_CHW.numpy().tobytes() for x_CHW in both)


def test_a_restorer_is_validated_on_stored_images_alone(fashion, drawn, tmp_path):
    """A dataset without validation images is watched on training images.

    Those that were photographed.
    """
    train = fashion.images("train")[:20]
    stored = ArrayImages(INFO, train, np.zeros(20, np.int64))
    samples = []
    model = tiny_model("cnn", network=CNN, degradation=[NOISE])
    session = Session(
        CPU,
        7,
        Checkpoints(tmp_path, "tiny"),
        ignore,
        lambda _, x_BCHW: samples.append(x_BCHW),
        generated_GHWC=drawn,
    )
    train_restorer(model, stored, session)
    assert torch.equal(samples[0][:8], to_images(train[:8], CPU))
