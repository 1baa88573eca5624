"""What `make demo` must have reached at the small size of `make ci-demo`.

Run in the folder of the demo.

The limits are what the small budgets reach with a margin; README has the figures of the shipped
budgets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ATELIER = str(Path(sys.executable).with_name("atelier"))


@pytest.fixture(scope="module")
def champions() -> dict[str, dict]:
    answer = subprocess.run(
        [ATELIER, "history", "--json"], capture_output=True, text=True, check=True
    )
    return {
        entry["model"]: entry["metrics"]
        for entry in json.loads(answer.stdout)
        if "champion" in entry["aliases"]
    }


def test_all_four_models_have_a_champion(champions):
    assert set(champions) == {
        "fashion-classifier",
        "fashion-gan",
        "fashion-denoise",
        "fashion-inpaint",
    }


def test_the_classifier_is_accurate(champions):
    assert champions["fashion-classifier"]["accuracy"]["low"] > 0.87


@pytest.mark.parametrize("restorer", ["fashion-denoise", "fashion-inpaint"])
def test_restorers_beat_every_baseline_and_help_the_classifier(champions, restorer):
    assert (
        champions[restorer]["psnr_gain"]["low"] > 0.5
    )  # dB over the best classical baseline, paired
    assert champions[restorer]["accuracy_gain"]["low"] > 0


def test_the_gan_makes_all_classes_and_images_to_learn_from(champions):
    scores = champions["fashion-gan"]
    assert scores["rarest_class"]["low"] > 0.5  # of an even share
    assert scores["class_accuracy"]["low"] > 0.7
    assert scores["cas"]["low"] > 0.6


def test_pictures_are_there_to_look_at():
    names = {path.name for path in Path("pictures").glob("*.png")}
    assert {
        "fashion-gan-generated.png",
        "fashion-denoise-restored.png",
        "fashion-inpaint-restored.png",
    } <= names
    with Image.open("pictures/fashion-gan-generated.png") as picture:
        assert min(picture.size) > 280  # ten by ten images


def test_the_work_tree_and_the_data_are_clean():
    assert (
        subprocess.run(
            ["git", "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout
        == ""
    )
    dvc = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], capture_output=True, text=True, check=True
    )
    assert "up to date" in dvc.stdout
