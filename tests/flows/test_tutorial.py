"""The tutorial, word for word, on photographs that this test makes: small ones, small budgets."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from ruamel.yaml import YAML

from tests.support.places import REPOSITORY
from tests.support.processes import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.flow, pytest.mark.service]

PAGE = REPOSITORY / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?:<!-- test: (\w+) -->\n)?```sh\n(.*?)```", flags=re.DOTALL)
SIDE = 112  # pixels
PICTURES = 24
SOURCES = ("astronaut", "chelsea", "coffee", "rocket")


def write_photographs(folder: Path) -> None:
    """Crops of photographs that scikit-image brings along; none overlaps another."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        pixels = getattr(skimage.data, name)()
        columns = pixels.shape[1] // SIDE
        for number in range(PICTURES // len(SOURCES)):
            top = SIDE * (number // columns)
            left = SIDE * (number % columns)
            crop = pixels[top : top + SIDE, left : left + SIDE]
            assert crop.shape == (SIDE, SIDE, 3)
            Image.fromarray(crop).save(folder / f"{name}-{number}.png")


def shrink(file: Path) -> None:
    """Trainings of seconds, and a gate that lets the first version pass and no later one."""
    yaml = YAML()
    params = yaml.load(file)
    for model in params["models"].values():
        training = model["training"]
        del training["minutes"]
        training.update(kimg=0.5, batch_size=8, warmup_kimg=0.1, ema_halflife_kimg=0.1)
    params["promotion"]["restoration"].update(floors={"psnr_gain": -100.0}, margin=50.0)
    yaml.dump(params, file)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each block of the tutorial printed, by its first line."""
    studio = tmp_path_factory.mktemp("tutorial") / "studio"
    write_photographs(studio / "photos")
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    who = {}
    for role in ("AUTHOR", "COMMITTER"):
        who |= {f"GIT_{role}_NAME": "test", f"GIT_{role}_EMAIL": "test@example.org"}
    environment = clean_environment(PATH=programs, COLUMNS="200", **who)
    printed = {}
    for mark, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if mark == "skip":
            continue
        if mark == "small":
            shrink(studio / "params.yaml")
        done = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=studio,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        printed[block.splitlines()[0].partition("#")[0].strip()] = done.stdout
    return studio, printed


def test_init_proposes_the_models_that_the_tutorial_names(outputs):
    _, printed = outputs
    seen = printed["atelier init --pictures photos"]
    assert "photos-denoise" in seen
    assert "photos-enlarge" in seen
    assert "24 pictures in colour" in seen


def test_plan_and_run_do_what_it_says(outputs):
    studio, printed = outputs
    assert "missing" in printed["atelier params"]
    assert "promoted" in printed["atelier run"]
    assert "photos-enlarge" in printed["atelier history"]
    assert (studio / "data" / "photos" / "quarantine.csv").exists()


def test_pictures_are_restored_and_the_card_is_written(outputs):
    studio, printed = outputs
    assert len(list((studio / "restored").glob("*.png"))) == PICTURES
    card = printed["atelier restore photos-denoise photos -o restored"].splitlines()[-1]
    assert (studio / card).read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>")


def test_the_second_version_is_kept_promoted_by_hand_and_rolled_back(outputs):
    _, printed = outputs
    second = "atelier run photos-denoise -S models.photos-denoise.network.width=12"
    assert "kept" in printed[second]
    decided = next(text for line, text in printed.items() if line.startswith("atelier promote"))
    assert "photos-denoise/2 promoted" in decided
    assert "small enough for the phone" in decided
    assert "halos around branches" in decided


def test_a_run_without_the_override_has_nothing_to_do(outputs):
    _, printed = outputs
    assert "Nothing to do" in printed["atelier run photos-denoise"]


def test_no_block_of_the_tutorial_is_forgotten(outputs):
    _, printed = outputs
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(printed) == len([mark for mark, _ in blocks if mark != "skip"])
