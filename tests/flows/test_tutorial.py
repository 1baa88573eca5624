"""The tutorial, word for word, on photographs that this test makes: small ones, small budgets."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from ruamel.yaml import YAML

from tests.support.places import REPOSITORY
from tests.support.processes import atelier, clean_environment

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
    """One model of two, trained for seconds, and a gate that its first version passes alone."""
    yaml = YAML()
    params = yaml.load(file)
    del params["models"]["photos-enlarge"]
    model = params["models"]["photos-denoise"]
    model["network"].update(width=8, depth=3)
    training = model["training"]
    del training["minutes"]
    training.update(kimg=0.16, batch_size=8, warmup_kimg=0.05, ema_halflife_kimg=0.05)
    params["promotion"]["restoration"].update(floors={"psnr_gain": -100.0}, margin=50.0)
    yaml.dump(params, file)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The project folder, and what each line of the tutorial printed."""
    studio = tmp_path_factory.mktemp("tutorial") / "studio"
    write_photographs(studio / "photos")
    printed = {}
    for mark, line in lines_of(PAGE.read_text(encoding="utf-8")):
        if mark == "small":
            shrink(studio / "params.yaml")
        words = shlex.split(line, comments=True)
        if words[0] == "atelier":
            done = atelier(studio, *words[1:], COLUMNS="200")
        else:
            whole = {"cwd": studio, "env": identified(), "capture_output": True, "text": True}
            done = subprocess.run(words, **whole, timeout=60)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        printed[" ".join(words)] = done.stdout
    return studio, printed


def lines_of(page: str) -> Iterator[tuple[str, str]]:
    """Each line of a shell block that is run, the first one of a block with the block's mark."""
    for mark, block in BLOCK.findall(page):
        if mark != "skip":
            first, *others = block.splitlines()
            yield mark, first
            yield from (("", line) for line in others)


def identified() -> dict[str, str]:
    """An environment in which git knows who commits."""
    who = {}
    for role in ("AUTHOR", "COMMITTER"):
        who |= {f"GIT_{role}_NAME": "test", f"GIT_{role}_EMAIL": "test@example.org"}
    return clean_environment(**who)


def test_init_proposes_the_models_that_the_tutorial_names(outputs):
    _, printed = outputs
    seen = printed["atelier init --pictures photos"]
    assert "photos-denoise" in seen
    assert "photos-enlarge" in seen
    assert "24 pictures in colour" in seen


def test_plan_and_run_do_what_it_says(outputs):
    studio, printed = outputs
    assert "photos-denoise" in printed["atelier params"]
    assert "missing" in printed["atelier plan"]
    assert "promoted" in printed["atelier run"]
    assert "photos-denoise/1" in printed["atelier history"].replace(" ", "")
    assert (studio / "data" / "photos" / "quarantine.csv").exists()


def test_pictures_are_restored_and_the_card_is_written(outputs):
    studio, printed = outputs
    assert len(list((studio / "restored").glob("*.png"))) == PICTURES
    card = studio / printed["atelier card photos-denoise"].strip()
    assert "photos-denoise" in card.read_text(encoding="utf-8")


def test_the_second_version_is_kept_promoted_by_hand_and_rolled_back(outputs):
    _, printed = outputs
    second = "atelier run photos-denoise -S models.photos-denoise.network.width=12"
    assert "kept" in printed[second]
    decided = "".join(text for line, text in printed.items() if "--reason" in line)
    assert "photos-denoise/2 promoted" in decided
    assert "Champion is photos-denoise/1" in decided
    ledger = printed["atelier ledger photos-denoise"]
    assert "small enough for the phone" in ledger
    assert "halos around branches" in ledger


def test_a_run_without_the_override_has_nothing_to_do(outputs):
    _, printed = outputs
    assert "Nothing to do" in printed["atelier run photos-denoise"]


def test_every_line_is_run_once(outputs):
    _, printed = outputs
    lines = list(lines_of(PAGE.read_text(encoding="utf-8")))
    assert len(printed) == len(lines) > 12
