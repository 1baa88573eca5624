"""What a file may leave out: it is filled by the shipped recipes, and every value says its origin."""

import json

import pytest

from atelier.errors import ConfigError
from atelier.params import load_params
from atelier.params.defaults import MODELS, NETWORKS, TRAININGS, fill_defaults
from atelier.params.origins import values_of
from tests.support.places import REPOSITORY

SMALLEST = """\
datasets:
  photos: {source: folder, path: raw/photos}
models:
  denoise:
    kind: restoration
    dataset: photos
    degradation: [{noise: {sigma: 0.1}}]
"""
FASHION = """\
datasets:
  fashion: {source: fashion-mnist}
models:
  classifier: {kind: classification, dataset: fashion}
  gan: {kind: gan, dataset: fashion}
"""


@pytest.fixture
def load(tmp_path):
    def load(text, *overrides):
        (tmp_path / "params.yaml").write_text(text)
        return load_params(tmp_path / "params.yaml", overrides)

    return load


def test_the_smallest_file_for_a_denoiser_has_seven_lines(load):
    assert len(SMALLEST.splitlines()) == 7
    model = load(SMALLEST).models["denoise"]
    assert (model.network.name, model.network.depth, model.loss) == ("cnn", 6, "l2")
    assert (model.training.kimg, model.training.batch_size, model.training.crop_size) == (
        160.0,
        64,
        48,
    )


def test_the_shipped_file_says_what_the_defaults_are(load):
    """A default is the value of the shipped recipe of its kind."""
    shipped = load_params(REPOSITORY / "params.yaml")
    for name, kind in (
        ("fashion-classifier", "classification"),
        ("fashion-gan", "gan"),
        ("fashion-denoise", "restoration"),
    ):
        bare = {"kind": kind, "dataset": "fashion"}
        if kind == "restoration":
            bare["degradation"] = [{"noise": {"sigma": 0.2}}]
        text = {"datasets": {"fashion": {"source": "fashion-mnist"}}, "models": {name: bare}}
        if kind == "gan":
            text["models"]["classifier"] = {"kind": "classification", "dataset": "fashion"}
        assert load(json.dumps(text)).models[name] == shipped.models[name], kind


def test_a_gan_is_scored_by_the_one_classifier_of_its_pictures(load):
    assert load(FASHION).evaluation.features == "classifier:classifier"
    with pytest.raises(ConfigError, match="evaluation.features"):
        load(FASHION + "  other: {kind: classification, dataset: fashion}\n")


def test_a_training_that_is_given_in_part_keeps_what_it_leaves_out_switched_off(load):
    text = SMALLEST + "    training: {kimg: 20}\n"
    training = load(text).models["denoise"].training
    assert (training.kimg, training.batch_size, training.warmup_kimg) == (20.0, 64, 0.0)
    assert not training.augment.flip


@pytest.mark.parametrize(
    ("override", "kimg", "minutes"),
    [
        ("models.denoise.training.minutes=3", None, 3.0),
        ("models.denoise.training.kimg=7", 7.0, None),
        ("models.denoise.network.width=8", 160.0, None),
    ],
)
def test_an_override_reaches_into_what_the_file_leaves_out(load, override, kimg, minutes):
    model = load(SMALLEST, override).models["denoise"]
    assert (model.training.kimg, model.training.minutes) == (kimg, minutes)
    assert model.training.augment.flip  # the recipe stays a whole one


def test_a_penalty_of_its_own_is_taken_in_every_step(load):
    shipped, *own = (
        load(FASHION.replace("gan, ", f"gan, {given}")).models["gan"]
        for given in ("", "r1_gamma: 1.0, ", "r2_gamma: 1.0, ", "gp_weight: 10, ")
    )
    assert (shipped.r1_gamma, shipped.penalty_every) == (2.0, 4)
    assert [model.penalty_every for model in own] == [1, 1, 1]


def test_another_network_brings_its_own_size(load):
    network = load(SMALLEST, "models.denoise.network={name: unet}").models["denoise"].network
    assert (network.width, network.levels, network.blocks) == (32, 2, 2)


def test_crops_are_no_larger_than_the_smallest_picture_may_be(load):
    text = SMALLEST.replace("path: raw/photos", "path: raw/photos, min_size: 32")
    assert load(text).models["denoise"].training.crop_size == 32


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"models": None},
        {"models": {"a": None, "b": 3, "c": {}}},
        {"models": {"a": {"kind": ["gan"], "training": 3, "network": "cnn"}}},
        {"datasets": [1], "evaluation": 3, "promotion": None},
    ],
)
def test_what_can_not_be_understood_stays_for_the_checks(raw):
    before = json.dumps(raw)
    filled = fill_defaults(raw)
    assert json.dumps(raw) == before
    for key, value in raw.items():
        if not isinstance(value, dict):
            assert filled[key] == value


def test_every_kind_has_a_recipe():
    assert MODELS.keys() == TRAININGS.keys()
    assert {part.partition(".")[0] for part in NETWORKS} == MODELS.keys()


def test_every_value_says_where_it_comes_from(tmp_path):
    (tmp_path / "params.yaml").write_text(SMALLEST)
    values = values_of(tmp_path / "params.yaml", ["models.denoise.training.minutes=3", "seed=9"])
    origins = {value.key: (value.value, value.origin) for value in values}
    assert origins["datasets.photos.sources.0.path"] == ("raw/photos", "file")
    assert origins["models.denoise.degradation.0.noise.sigma"] == (0.1, "file")
    assert origins["models.denoise.training.minutes"] == (3.0, "override")
    assert origins["seed"] == (9, "override")
    assert origins["models.denoise.training.lr"] == (2e-3, "default")
    assert origins["evaluation.num_images"] == (10_000, "default")
