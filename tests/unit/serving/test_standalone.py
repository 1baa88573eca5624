"""The exported folder runs on torch and safetensors alone, and gives what MLflow serves."""

import subprocess
import sys
import sysconfig
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from atelier.errors import UsageError
from atelier.pictures import to_pixels
from atelier.serving.served_model import ServedModel
from atelier.serving.standalone import refuse_folder, write_standalone
from tests.support.registered import make_bundle

FACTS = {"version": "some/3", "MLflow run": "run7"}


@pytest.fixture
def folder(tmp_path, request):
    """A model as an exported folder, and as it is served."""
    bundle = make_bundle(tmp_path / "bundles", request.param)
    write_standalone(bundle, tmp_path / "out" / "folder", FACTS)
    served = ServedModel()
    served.load_context(SimpleNamespace(artifacts={"bundle": str(bundle)}))
    return tmp_path / "out" / "folder", served


def run(folder, *words):
    """Run example.py where nothing of this environment is told but where its packages lie.

    -S: no .pth file, by which an editable Atelier would be found.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", folder / "example.py", *map(str, words)],
        env={"PYTHONPATH": sysconfig.get_path("purelib"), "OMP_NUM_THREADS": "1"},
        cwd=folder.parent,
        capture_output=True,
        text=True,
    )
    modules = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert {"torch", "safetensors"} <= modules, done.stderr[-2000:]
    assert not {"atelier", "mlflow", "prefect", "PIL", "pandas"} & modules
    return done


def picture(path, height, width):
    pixels_HWC = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    pixels_HWC[0, 0] = (10, 32, 35)  # a line's end, a blank and a comment's sign, right after 255
    Image.fromarray(pixels_HWC).save(path)
    return np.moveaxis(pixels_HWC.astype(np.float32) / np.float32(255), -1, 0)[None]


@pytest.mark.parametrize("folder", ["crnn"], indirect=True)
def test_a_restorer_restores_as_it_is_served(folder, tmp_path):
    path, served = folder
    y_1CHW = picture(tmp_path / "noisy.ppm", 37, 31)
    done = run(path, tmp_path / "noisy.ppm", tmp_path / "clean.ppm")
    assert done.returncode == 0
    restored_HWC = np.asarray(Image.open(tmp_path / "clean.ppm"))
    np.testing.assert_array_equal(restored_HWC, to_pixels(served.predict(None, y_1CHW))[0])
    Image.new("L", (8, 8)).save(tmp_path / "grey.pgm")
    refused = run(path, tmp_path / "grey.pgm", tmp_path / "no.ppm")
    assert refused.returncode == 1
    assert "grey.pgm must be PPM, binary, of 8 bits." in refused.stderr
    assert not (tmp_path / "no.ppm").exists()


@pytest.mark.parametrize("folder", ["crnn-lstm"], indirect=True)
def test_a_restorer_is_told_the_noise_level(folder, tmp_path):
    path, served = folder
    y_1CHW = picture(tmp_path / "noisy.ppm", 37, 31)
    assert run(path, tmp_path / "noisy.ppm", tmp_path / "clean.ppm", 0.4).returncode == 0
    expected_HWC = to_pixels(served.predict(None, y_1CHW, {"sigma": 0.4}))[0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "clean.ppm")), expected_HWC)
    assert (expected_HWC != to_pixels(served.predict(None, y_1CHW))[0]).any()


@pytest.mark.parametrize("folder", ["dcgan", "refined"], indirect=True)
def test_a_gan_draws_what_is_served_for_a_seed_and_class(folder, tmp_path):
    path, served = folder
    assert run(path, tmp_path / "image.ppm", 5, 2).returncode == 0
    request = pd.DataFrame({"num_images": [1], "seed": [5], "class": [2]})
    drawn_HWC = np.asarray(Image.open(tmp_path / "image.ppm"))
    np.testing.assert_array_equal(drawn_HWC, to_pixels(served.predict(None, request))[0])
    assert (path / "refiner.py").exists() == ("refiner" in served.config)


@pytest.mark.parametrize("folder", ["classifier"], indirect=True)
def test_a_classifier_prints_probabilities(folder, tmp_path):
    path, served = folder
    x_1CHW = picture(tmp_path / "picture.ppm", 16, 16)
    lines = run(path, tmp_path / "picture.ppm").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["coat", "bag|s", "shirt"]
    probabilities_K = [float(line.split()[0]) for line in lines]
    np.testing.assert_allclose(probabilities_K, served.predict(None, x_1CHW)[0], atol=1e-6)


@pytest.mark.parametrize("folder", ["cnn"], indirect=True)
def test_the_folder_holds_five_files_of_which_one_is_a_card(folder):
    path, _ = folder
    files = ["README.md", "config.json", "example.py", "network.py", "weights.safetensors"]
    assert sorted(file.name for file in path.iterdir()) == files
    assert [file.name for file in path.parent.iterdir()] == ["folder"]  # nothing beside it
    card = (path / "README.md").read_text()
    assert "| MLflow run | run7 |" in card
    assert "python example.py DEGRADED.ppm RESTORED.ppm" in card


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path):
    bundle = make_bundle(tmp_path, "cnn")
    (tmp_path / "empty").mkdir()
    write_standalone(bundle, tmp_path / "empty", FACTS)
    assert (tmp_path / "empty" / "example.py").exists()
    (tmp_path / "file").write_text("mine")
    for place in ("empty", "file"):
        with pytest.raises(UsageError, match=f"{place} was there before and is no empty folder"):
            refuse_folder(tmp_path / place)
    with pytest.raises(UsageError, match="file/below can't be written: "):
        write_standalone(bundle, tmp_path / "file" / "below", FACTS)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cnn", "empty", "file"]
