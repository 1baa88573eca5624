import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from atelier.data.store import DatasetInfo
from atelier.networks.classifiers import build_classifier
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer
from atelier.serving import SERVED_MODEL
from atelier.serving.bundle import add_refiner, write_bundle
from atelier.training.session import Trained

pytestmark = pytest.mark.service

BUILDERS = {
    "classification": build_classifier,
    "gan": build_generator,
    "restoration": build_restorer,
}
SHAPE = {"channels": 1, "image_size": 28, "num_classes": 10}
RESTORER = {"width": 4, "channels": 1, "upscale": 1}
MODELS = {  # name -> (kind, configuration of the network)
    "classifier": ("classification", {"name": "cnn", **SHAPE, "width": 4}),
    "gan": ("gan", {"name": "dcgan", **SHAPE, "width": 4, "latent_dim": 8}),
    "cnn": ("restoration", {"name": "cnn", **RESTORER, "depth": 3}),
    "cnn-x2": ("restoration", {"name": "cnn", **RESTORER, "depth": 3, "upscale": 2}),
    "crnn": ("restoration", {"name": "crnn", **RESTORER, "iterations": 3}),
    "cnn-levels": ("restoration", {"name": "cnn", **RESTORER, "depth": 3, "noise_level": True}),
    "crnn-levels": (
        "restoration",
        {"name": "crnn", **RESTORER, "iterations": 2, "cell": "lstm", "noise_level": True},
    ),
    "rgb-gan": ("gan", {"name": "dcgan", **SHAPE, "channels": 3, "width": 4, "latent_dim": 8}),
    "crnn-rgb": ("restoration", {"name": "crnn", **RESTORER, "iterations": 2, "channels": 3}),
    "unet-rgb": (
        "restoration",
        {"name": "unet", **RESTORER, "levels": 2, "blocks": 1, "channels": 3},
    ),
    "nafnet": ("restoration", {"name": "nafnet", **RESTORER, "levels": 2, "blocks": 1}),
    "resnet-rgb-x3": (
        "restoration",
        {"name": "resnet_sr", **RESTORER, "blocks": 1, "channels": 3, "upscale": 3},
    ),
    "crnn-rgb-x2": (
        "restoration",
        {"name": "crnn", **RESTORER, "iterations": 2, "channels": 3, "upscale": 2},
    ),
}
REFINED = {
    "refined-gan": ("gan", "cnn"),
    "refined-rgb-gan": ("rgb-gan", "crnn-rgb"),
}  # name -> (GAN, restorer)
OF_ANY_SIZE = ("cnn", "crnn-rgb-x2")  # trained on pictures that keep their own size
RESTORERS = [name for name, (kind, _) in MODELS.items() if kind == "restoration"]


def images(channels, height, width, num_images=2):
    """Noisy images: a little outside of [0, 1], as degraded ones are."""
    rng = np.random.default_rng(height)
    return rng.uniform(-0.2, 1.2, (num_images, channels, height, width)).astype(np.float32)


def latents(num_images, latent_dim=8, seed=3):
    """One draw an image, all from one seed."""
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(latent_dim, generator=rng) for _ in range(num_images)])


def in_turn(num_images, seed, wanted=-1):
    return {"num_images": num_images, "seed": seed, "class": wanted}


GREY, RGB = images(1, 28, 28), images(3, 28, 28)
ONE_EMPTY_ROW = pd.DataFrame(index=[0])
REQUESTS = {  # what the fresh process asks for -> (model, input, params)
    "classifier": ("classifier", GREY, None),
    "many": ("classifier", images(1, 28, 28, 300), None),
    **{
        f"{name} {height}x{width}": (name, images(MODELS[name][1]["channels"], height, width), None)
        for name in RESTORERS
        for height, width in ((28, 28), (37, 31))
    },
    "trained iterations": ("crnn", GREY, {"iterations": 0}),
    "one iteration": ("crnn", GREY, {"iterations": 1}),
    "five iterations": ("crnn", GREY, {"iterations": 5}),
    "known noise": ("cnn-levels", GREY, {"sigma": 0.4}),
    "no noise": ("cnn-levels", GREY, {"sigma": 0.0}),
    "unknown noise": ("cnn-levels", GREY, {"sigma": -1.0}),
    "known noise, one iteration": ("crnn-levels", GREY, {"sigma": 0.4, "iterations": 1}),
    "by column": ("gan", pd.DataFrame([in_turn(5, 3, 2)]), None),
    "by params": ("gan", ONE_EMPTY_ROW, in_turn(5, 3, 2)),
    "column over params": ("gan", pd.DataFrame({"class": [2]}), in_turn(5, 3, 7)),
    "defaults": ("gan", ONE_EMPTY_ROW, None),
    "in turn": ("gan", pd.DataFrame([in_turn(12, 3)]), None),
    "other seed": ("gan", pd.DataFrame([in_turn(5, 4, 2)]), None),
    "two rows": ("gan", pd.DataFrame([in_turn(5, 3, 2), in_turn(5, 4, 2)]), None),
    "more than a pass": ("gan", pd.DataFrame([in_turn(300, 3)]), None),
    "refined": ("refined-gan", pd.DataFrame([in_turn(300, 3)]), None),
    "refined by a crnn": ("refined-rgb-gan", pd.DataFrame([in_turn(5, 3)]), None),
    "unrefined": ("refined-gan", pd.DataFrame([{**in_turn(300, 3), "refined": 0}]), None),
    "unrefined by params": ("refined-gan", pd.DataFrame([in_turn(300, 3)]), {"refined": 0}),
    # refused:
    "restorer, wrong channels": ("cnn", RGB, None),
    "restorer, wrong type": ("cnn", GREY.astype(np.float64), None),
    "restorer, bytes": ("crnn", (GREY * 255).astype(np.uint8), None),
    "restorer, one image": ("cnn", GREY[0], None),
    "classifier, wrong channels": ("classifier", RGB, None),
    "classifier, wrong size": ("classifier", images(1, 29, 28), None),
    "negative iterations": ("crnn", GREY, {"iterations": -1}),
    "iterations in words": ("crnn", GREY, {"iterations": "two"}),
    "noise of 255": ("cnn-levels", GREY, {"sigma": 25.0}),
    "noise in words": ("cnn-levels", GREY, {"sigma": "little"}),
    "no images": ("gan", pd.DataFrame([in_turn(0, 3)]), None),
    "negative seed": ("gan", pd.DataFrame([in_turn(1, -3)]), None),
    "unknown class": ("gan", pd.DataFrame([in_turn(1, 3, 10)]), None),
    "class in words": ("gan", pd.DataFrame({"class": ["Sandal"]}), None),
}
FRESH_PROCESS = """
import json, pickle, sys
import mlflow, numpy as np

requests = pickle.load(open("requests.pickle", "rb"))
names = {model for model, *_ in requests.values()}
loaded = {name: mlflow.pyfunc.load_model(f"models:/{name}/1") for name in names}
answers, refusals = {}, {}
for key, (model, data, params) in requests.items():
    try:
        answers[key] = loaded[model].predict(data, params=params)
    except Exception as error:
        refusals[key] = f"{type(error).__name__}: {error}"
np.savez("answers.npz", **answers)
watched = ("mlflow.pyfunc", "safetensors.torch")
modules = [name for name in sys.modules if name.startswith("atelier") or name in watched]
json.dump({"refusals": refusals, "modules": sorted(modules)}, open("seen.json", "w"))
"""


@pytest.fixture(scope="module")
def networks():
    """Networks with no weight at its initial value.

    A layer that starts at zero would hide mistakes.
    """
    made = {}
    for name, (kind, config) in MODELS.items():
        torch.manual_seed(0)
        made[name] = BUILDERS[kind](**config).eval().requires_grad_(False)
        for key, tensor in made[name].state_dict().items():
            if tensor.is_floating_point():
                noise = 0.1 * torch.randn(tensor.shape)
                tensor.add_(noise.abs() if key.endswith("running_var") else noise)
    return made


@pytest.fixture(scope="module")
def served(registry, networks, tmp_path_factory):
    """What a fresh process that knows the tracking URI alone gets from the registered models."""
    folder = tmp_path_factory.mktemp("serving")
    for name, (kind, config) in MODELS.items():
        info = DatasetInfo(
            None if name in OF_ANY_SIZE else 28, config["channels"], 10, tuple("abcdefghij"), {}
        )
        bundle = write_bundle(
            folder / name / "bundle", kind, Trained(networks[name], config, 0), info
        )
        registry.register(name, registry.runs.start(name, "print", {}), bundle, {})
    for name, (gan, restorer) in REFINED.items():
        bundle = folder / name / "bundle"
        shutil.copytree(folder / gan / "bundle", bundle)
        add_refiner(bundle, folder / restorer / "bundle", f"{restorer}/1")
        registry.register(name, registry.runs.start(name, "print", {}), bundle, {})
    pd.to_pickle(REQUESTS, folder / "requests.pickle")
    environment = {
        key: os.environ[key] for key in ("PATH", "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY")
    }
    command = [sys.executable, "-c", FRESH_PROCESS]
    done = subprocess.run(
        command, cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    with np.load(folder / "answers.npz") as answers:
        return {**json.loads((folder / "seen.json").read_text()), "answers": dict(answers)}


@pytest.fixture
def answers(served):
    return served["answers"]


def assert_close(answer, expected):
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected.numpy(), atol=1e-5)


def test_a_fresh_process_imports_nothing_of_atelier(served):
    assert served["modules"] == ["mlflow.pyfunc", "safetensors.torch"]


def test_no_artifact_is_a_pickle(registry, served):
    artifacts = registry._connection.project.root / "mlruns"
    files = [path for path in artifacts.rglob("*") if path.is_file()]
    assert len([path for path in files if path.name == "weights.safetensors"]) == len(MODELS) + len(
        REFINED
    )
    assert len([path for path in files if path.name == "refiner.safetensors"]) == len(REFINED)
    assert [
        path
        for path in files
        if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib")
    ] == []
    zipped_or_pickled = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    assert [path for path in files if path.read_bytes().startswith(zipped_or_pickled)] == []


@pytest.mark.parametrize("size", [(28, 28), (37, 31)])
@pytest.mark.parametrize("name", RESTORERS)
def test_a_restorer_takes_any_size_and_stays_in_the_unit_range(answers, networks, name, size):
    y_NCHW = REQUESTS[f"{name} {size[0]}x{size[1]}"][1]
    upscale = MODELS[name][1]["upscale"]
    x_hat_NCHW = answers[f"{name} {size[0]}x{size[1]}"]
    assert x_hat_NCHW.shape == (*y_NCHW.shape[:2], size[0] * upscale, size[1] * upscale)
    assert (x_hat_NCHW.min(), x_hat_NCHW.max()) == (0, 1)  # clipped: the input was outside
    assert_close(x_hat_NCHW, networks[name](torch.from_numpy(y_NCHW)).clamp(0, 1))


@pytest.mark.parametrize(
    ("key", "iterations"), [("trained iterations", 3), ("one iteration", 1), ("five iterations", 5)]
)
def test_iterations_of_a_recurrent_restorer_are_chosen_by_the_caller(
    answers, networks, key, iterations
):
    expected = [
        networks["crnn"](torch.from_numpy(GREY), iterations=count).clamp(0, 1)
        for count in range(1, 7)
    ]
    assert_close(answers[key], expected[iterations - 1])
    assert (expected[iterations] - expected[iterations - 1]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("key", "sigma"),
    [("known noise", 0.4), ("no noise", 0.0), ("unknown noise", None), ("cnn-levels 28x28", None)],
)
def test_the_noise_level_is_the_callers_or_estimated(answers, networks, key, sigma):
    expected = networks["cnn-levels"](torch.from_numpy(GREY), sigma=sigma).clamp(0, 1)
    assert_close(answers[key], expected)
    assert (
        expected - networks["cnn-levels"](torch.from_numpy(GREY), sigma=0.6).clamp(0, 1)
    ).abs().max() > 0.01


def test_the_noise_level_and_the_iterations_are_chosen_together(answers, networks):
    expected = networks["crnn-levels"](torch.from_numpy(GREY), sigma=0.4, iterations=1)
    assert_close(answers["known noise, one iteration"], expected.clamp(0, 1))


@pytest.mark.parametrize("key", ["classifier", "many"])
def test_a_classifier_gives_probabilities(answers, networks, key):
    x_NCHW = REQUESTS[key][1]
    np.testing.assert_allclose(answers[key].sum(axis=1), 1, atol=1e-5)
    assert_close(answers[key], networks["classifier"](torch.from_numpy(x_NCHW)).softmax(dim=1))


@pytest.mark.parametrize(
    "key", ["by column", "by params", "column over params", "in turn", "more than a pass"]
)
def test_a_gan_draws_the_classes_it_is_asked_for(answers, networks, key):
    num_images = len(answers[key])
    assert num_images == {"in turn": 12, "more than a pass": 300}.get(key, 5)
    z_NZ = latents(num_images)
    in_turn = key in ("in turn", "more than a pass")
    labels_N = torch.arange(num_images) % 10 if in_turn else torch.full((num_images,), 2)
    assert answers[key].shape == (num_images, 1, 28, 28)
    assert answers[key].min() >= 0
    assert answers[key].max() <= 1
    assert_close(answers[key], networks["gan"](z_NZ, labels_N) * 0.5 + 0.5)


def test_a_gan_gives_the_same_images_for_the_same_seed_only(answers):
    np.testing.assert_array_equal(answers["by column"], answers["by params"])
    assert np.abs(answers["by column"] - answers["other seed"]).max() > 0.01
    np.testing.assert_array_equal(
        answers["two rows"], np.concatenate([answers["by column"], answers["other seed"]])
    )


def test_a_refined_gan_gives_what_its_restorer_makes_of_what_it_draws(answers, networks):
    for key, gan, restorer in [
        ("refined", "gan", "cnn"),
        ("refined by a crnn", "rgb-gan", "crnn-rgb"),
    ]:
        num_images = len(answers[key])
        z_NZ = latents(num_images)
        x_NCHW = (networks[gan](z_NZ, torch.arange(num_images) % 10) * 0.5 + 0.5).clamp(0, 1)
        refined_NCHW = networks[restorer](x_NCHW).clamp(0, 1)
        assert_close(answers[key], refined_NCHW)
        assert (refined_NCHW - x_NCHW).abs().max() > 0.01


def test_a_refined_gan_gives_what_it_draws_itself_when_asked_to(answers):
    for key in ("unrefined", "unrefined by params"):
        np.testing.assert_array_equal(answers[key], answers["more than a pass"])


def test_a_gan_that_is_asked_for_nothing_gives_sixteen_images(answers):
    assert answers["defaults"].shape == (16, 1, 28, 28)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "restorer, wrong channels",
            r"Shape of input \(2, 3, 28, 28\) does not match expected shape \(-1, 1, -1, -1\)",
        ),
        ("restorer, wrong type", "dtype|type float64"),
        ("restorer, bytes", "dtype|type uint8"),
        ("restorer, one image", r"Shape of input \(1, 28, 28\)"),
        (
            "classifier, wrong channels",
            r"Shape of input \(2, 3, 28, 28\) does not match expected shape \(-1, 1, 28, 28\)",
        ),
        ("classifier, wrong size", r"Shape of input \(2, 1, 29, 28\)"),
        ("negative iterations", "iterations = -1"),
        ("iterations in words", "iterations"),
        ("noise of 255", "sigma = 25.0 must be at most 1"),
        ("noise in words", "sigma"),
        ("no images", "num_images = 0 must be at least 1"),
        ("negative seed", "seed = -3"),
        ("unknown class", "class = 10 between 0 and 9"),
        ("class in words", "class"),
    ],
)
def test_what_does_not_fit_is_refused(served, key, message):
    assert key not in served["answers"]
    assert re.search(message, served["refusals"][key]), served["refusals"][key]


def test_the_served_file_imports_nothing_of_atelier():
    source = SERVED_MODEL.read_text()
    assert "import atelier" not in source
    assert "from atelier" not in source
