"""`atelier generate --spread`, and `--confidence` with `--judge`, on real registered models."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from atelier.errors import UsageError
from atelier.evaluation.sampling import spread_latents
from atelier.pictures import to_pixels
from atelier.serving import signatures
from tests.support.registered import make_bundle, register

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def models(registry, tmp_path_factory):
    """A project's GANs, and classifiers of which one fits them."""
    folder = tmp_path_factory.mktemp("bundles")
    register(registry, "gan", make_bundle(folder, "dcgan"))
    register(registry, "progressive", make_bundle(folder, "progressive"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "LATENTS", {})  # as it was registered then
        register(registry, "old-gan", make_bundle(folder, "r3"))
    classifier = make_bundle(folder, "classifier")
    register(registry, "judge", classifier)
    for name, key, value in (
        ("of-others", "class_names", ["cat", "dog", "cow"]),
        ("of-larger", "image_size", 28),
    ):
        other = shutil.copytree(classifier, folder / name)
        config = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps({**config, key: value}))
        register(registry, name, other)
    (registry._connection.project.root / "params.yaml").touch()
    return registry


def load(models, name):
    return models.load(models.version(name, 1))


def read_each(folder):
    pictures = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]
    return np.stack([np.asarray(picture) for picture in pictures])


def test_latents_are_spread_also_of_a_gan_from_before(type_in, models, tmp_path):
    for name in ("gan", "old-gan"):
        type_in(f"generate {name}/1 -n 4 --each --spread 1.5 -o {tmp_path / name}")
        served = load(models, name)
        request = pd.DataFrame([{"num_images": 4, "seed": 0, "class": -1}])
        plain_NCHW = served.predict(request)
        with spread_latents(served.unwrap_python_model().network, 1.5):
            expected = to_pixels(served.predict(request))
        drawn = read_each(tmp_path / name)
        np.testing.assert_array_equal(drawn, expected)
        assert np.abs(drawn.astype(int) - to_pixels(plain_NCHW)).max() > 2


def certainty(models, pixels_NHWC, label):
    x_NCHW = np.moveaxis(pixels_NHWC.astype(np.float32) / 255, -1, 1)
    return load(models, "judge").predict(np.ascontiguousarray(x_NCHW))[:, label]


def test_a_classifier_of_the_registry_chooses(type_in, models, tmp_path):
    options = "-n 20 --each --class shirt --seed 4"
    type_in(f"generate gan/1 {options} -o {tmp_path}/raw")
    raw_N = certainty(models, read_each(tmp_path / "raw"), 2)
    sure = float(np.quantile(raw_N, 0.8))
    wish = f"generate gan/1 {options} --confidence {sure:.5f} --judge judge/1"
    printed = type_in(f"{wish} -o {tmp_path}/chosen")
    assert "20 images by gan/1, chosen by judge/1: " in printed
    assert "drawn reached it" in printed
    chosen = read_each(tmp_path / "chosen")
    assert certainty(models, chosen, 2).min() > raw_N.min()
    assert certainty(models, chosen, 2).mean() > raw_N.mean()
    type_in(f"{wish} -o {tmp_path}/again")
    np.testing.assert_array_equal(read_each(tmp_path / "again"), chosen)


def test_a_gan_that_can_not_reach_it_gives_its_best_and_says_so(type_in, tmp_path):
    wish = "generate gan/1 -n 9 --confidence 0.99999 --judge judge/1"
    printed = type_in(f"{wish} -o {tmp_path}/grid.png")
    assert "0.0% of 90 drawn reached it, 9 of 9 kept below it" in printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("gan/1 --spread 0", "--spread 0 must be above 0 and at most 10"),
        ("gan/1 --spread nan", "--spread nan must be above 0 and at most 10"),
        ("progressive/1 --spread 2", "progressive/1 divides latents by their length"),
        ("gan/1 --confidence 1 --judge judge", "--confidence 1 must be above 0 and below 1"),
        ("gan/1 --confidence 0.5", "--confidence is a classifier's, that of --judge"),
        ("gan/1 --judge judge", "--confidence is a classifier's, that of --judge"),
        (
            "gan/1 --confidence 0.5 --judge judge/1 --interpolate 3",
            "--interpolate shows the way between two images",
        ),
        ("gan/1 --confidence 0.5 --judge gan/1", "gan/1 is a gan model; this command needs"),
        (
            "gan/1 --confidence 0.5 --judge of-others/1",
            "--judge of-others/1 does not fit gan/1: classes cat, dog, cow instead of coat, "
            r"bag\|s, shirt",
        ),
        (
            "gan/1 --confidence 0.5 --judge of-larger/1",
            "--judge of-larger/1 does not fit gan/1: pixels a side 28 instead of 16",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_written(type_in, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        type_in(f"generate {options} -o {tmp_path / 'grid.png'}")
    assert list(tmp_path.iterdir()) == []
