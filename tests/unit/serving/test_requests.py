"""What the served model's own `predict` answers and refuses, without MLflow's checks before it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.store import DatasetInfo
from atelier.networks.classifiers import build_classifier
from atelier.networks.generators import GENERATORS, build_generator
from atelier.networks.restorers import build_restorer
from atelier.serving.bundle import write_bundle
from atelier.serving.served_model import ServedModel
from atelier.training.session import Trained

TOLERANCE = 1e-5  # other batches round differently


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    def loaded(kind, build, **config):
        torch.manual_seed(0)
        size = config.get("image_size")
        trained = Trained(build(**config).eval(), config, 0)
        info = DatasetInfo(size, config["channels"], config.get("num_classes", 0), (), {})
        bundle = write_bundle(tmp_path_factory.mktemp("served") / "bundle", kind, trained, info)
        model = ServedModel()
        model.load_context(SimpleNamespace(artifacts={"bundle": str(bundle)}))
        return model

    return loaded


@pytest.fixture(scope="module")
def gans(load):
    shape = {"channels": 1, "image_size": 16, "num_classes": 3, "width": 4}
    own = {
        "dcgan": {"latent_dim": 100},
        "resnet": {"latent_dim": 7, "blocks": 1, "attention": True},
        "r3": {"latent_dim": 1, "blocks": 1},
        "progressive": {"latent_dim": 21, "growth": 0.5},
    }
    return {
        name: load("gan", build_generator, name=name, **own[name], **shape) for name in GENERATORS
    }


@pytest.fixture(scope="module")
def images_models(load):
    return {
        "restoration": load(
            "restoration", build_restorer, name="cnn", channels=3, width=4, depth=2
        ),
        "classification": load(
            "classification",
            build_classifier,
            name="cnn",
            channels=3,
            image_size=16,
            num_classes=2,
            width=4,
        ),
    }


def drawn(gan, **request):
    return gan.predict(None, pd.DataFrame([request]))


@pytest.mark.parametrize("name", GENERATORS)
@given(
    count=st.integers(1, 40),
    more=st.integers(0, 300),
    seed=st.integers(0, 2**63 - 1),
    wanted=st.sampled_from([-1, 0]),
)
def test_image_n_of_a_seed_is_one_image_however_many_are_asked_for(
    gans, name, count, more, seed, wanted
):
    request = {"seed": seed, "class": wanted}
    few = drawn(gans[name], num_images=count, **request)
    many = drawn(gans[name], num_images=count + more, **request)
    np.testing.assert_allclose(few, many[:count], atol=TOLERANCE)


def test_a_request_among_others_gets_what_it_gets_alone(gans):
    table = pd.DataFrame({"num_images": [3, 300, 2], "seed": [5, 2**60 + 1, 5]})
    alone = [drawn(gans["dcgan"], num_images=int(n), seed=int(s)) for n, s in table.to_numpy()]
    np.testing.assert_allclose(
        gans["dcgan"].predict(None, table), np.concatenate(alone), atol=TOLERANCE
    )


def test_seeds_that_differ_beyond_32_bits_give_different_images(gans):
    images = [drawn(gans["dcgan"], num_images=4, seed=seed) for seed in (3, 3 + 2**32, 3 + 2**33)]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(images[first] - images[second]).max() > 1e-3


@pytest.mark.parametrize(
    ("request_of_one", "words"),
    [
        ({"num_images": 0}, "num_images = 0 must be at least 1"),
        ({"num_images": -1}, "num_images = -1"),
        ({"num_images": 10**12}, "num_images = 1000000000000 in all must be at most 16777216"),
        ({"num_images": 2.5}, "num_images = 2.5 must be a whole number"),
        ({"num_images": None}, "num_images = "),
        ({"seed": -1}, "seed = -1 at least 0"),
        ({"seed": 2**64}, "below 2"),
        ({"seed": float("nan")}, "seed = nan must be a whole number"),
        ({"class": 3}, "class = 3 between 0 and 2"),
        ({"class": -2}, "class = -2"),
        ({"class": "cat"}, "class = 'cat' must be a whole number"),
    ],
)
def test_a_request_that_no_gan_can_answer_is_refused_in_words(gans, request_of_one, words):
    with pytest.raises(ValueError, match=words):
        drawn(gans["dcgan"], **{"num_images": 2, "seed": 0, **request_of_one})


def test_a_gan_that_is_given_no_table_says_so(gans):
    with pytest.raises(ValueError, match="takes a table of requests"):
        gans["dcgan"].predict(None, np.zeros((1, 3, 16, 16), np.float32))


GOOD = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)


def _with_pixel(value):
    changed = GOOD.copy()
    changed[1, 0, 5, 5] = value
    return changed


@pytest.mark.parametrize("kind", ["restoration", "classification"])
@pytest.mark.parametrize(
    ("given_images", "words"),
    [
        (GOOD * 255, "goes from .* Divide 0..255 by 255"),
        (GOOD * 2 - 1, r"of -1..1 take \(x \+ 1\) / 2"),
        (_with_pixel(255), "image 1 of the input"),
        (_with_pixel(np.nan), "image 1 of the input holds 1 values that are NaN or infinite"),
        (_with_pixel(np.inf), "NaN or infinite"),
        (GOOD[:0], "no pixels"),
        (GOOD[0], r"float32 of shape \(3, 16, 16\)"),
        (GOOD[:, :1], "of shape N x 3 x"),
        (GOOD.transpose(0, 2, 3, 1), "of shape N x 3 x"),
        (GOOD.astype(np.float64), "float64 of shape"),
        ((GOOD * 255).astype(np.uint8), "uint8 of shape"),
        (np.array([["cat"]]), "of shape"),
    ],
)
def test_an_input_of_another_form_is_refused_in_words(images_models, kind, given_images, words):
    with pytest.raises(ValueError, match=words):
        images_models[kind].predict(None, given_images)


def test_a_classifier_refuses_images_of_another_size(images_models):
    with pytest.raises(ValueError, match="N x 3 x 16 x 16"):
        images_models["classification"].predict(None, np.zeros((1, 3, 17, 16), np.float32))


@given(sigma=st.floats(0, 0.3), level=st.floats(0, 1), seed=st.integers(0, 99))
def test_noise_may_leave_the_range(images_models, sigma, level, seed):
    noise = np.random.default_rng(seed).standard_normal((1, 3, 37, 31), np.float32)
    answer = images_models["restoration"].predict(
        None, np.float32(level) + np.float32(sigma) * noise
    )
    assert np.isfinite(answer).all()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"iterations": 3}, "not recurrent"),
        ({"iterations": 10**9}, "at most 1000"),
        ({"iterations": 1.5}, "iterations = 1.5 must be a whole number"),
        ({"sigma": float("nan")}, "sigma = nan must be at most 1"),
        ({"sigma": "little"}, "sigma = little must be at most 1"),
    ],
)
def test_a_parameter_that_no_restorer_knows_is_refused_in_words(images_models, params, words):
    with pytest.raises(ValueError, match=words):
        images_models["restoration"].predict(None, GOOD, params)


def test_large_images_pass_a_few_at_a_time_with_the_same_result(images_models):
    x_NCHW = np.random.default_rng(1).random((5, 3, 512, 600), np.float32)
    together = images_models["restoration"].predict(None, x_NCHW)
    alone = np.concatenate(
        [images_models["restoration"].predict(None, x_1CHW[None]) for x_1CHW in x_NCHW]
    )
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
