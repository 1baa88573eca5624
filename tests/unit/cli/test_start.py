"""`atelier init` and `atelier params` as they are typed."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from atelier.cli import app


@pytest.fixture
def type_in(tmp_path, monkeypatch):
    """Call a command in an empty folder beside a folder of pictures; gives code and output."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        pixels_HWC = rng.integers(0, 256, (110, 130, 3), np.uint8)
        Image.fromarray(pixels_HWC).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)

    def type_in(line):
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, line.split())
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return type_in


def test_a_project_begins_with_ones_own_pictures(type_in, tmp_path):
    code, output = type_in("init --pictures photos")
    assert code == 0
    assert "photos: 6 pictures in colour, sides of 110 to 130 pixels; no classes." in output
    assert "photos-denoise" in output and "created: .git, " in output
    assert "/photos" in (tmp_path / ".gitignore").read_text().splitlines()
    code, output = type_in("init --pictures photos")
    assert "kept: .git, " in output and "params.yaml was there and stays as it is." in output


def test_it_answers_programs_as_well(type_in):
    report = json.loads(type_in("init other --pictures photos --json")[1])
    assert report["seen"]["pictures"] == 6 and report["files"]["params.yaml"] == "created"
    again = json.loads(type_in("init other --pictures photos --json")[1])
    assert set(again["files"].values()) == {"kept"} and again["params"] == report["params"]


def test_without_pictures_it_is_the_shipped_example(type_in, tmp_path):
    assert type_in("init demo")[0] == 0
    assert "fashion-denoise" in (tmp_path / "demo" / "params.yaml").read_text()


def test_values_are_shown_with_where_they_come_from(type_in, tmp_path):
    type_in("init --pictures photos")
    code, output = type_in("params -S models.photos-denoise.training.lr=1e-4")
    assert code == 0
    (line,) = [line for line in output.splitlines() if "photos-denoise.training.lr" in line]
    assert "0.0001" in line and "override" in line
    assert "confidence" not in output and "defaults: atelier params --all shows them" in output
    values = json.loads(type_in("params --all --json")[1])
    origins = {value["key"]: value["origin"] for value in values}
    assert origins["evaluation.confidence"] == "default"
    assert origins["datasets.photos.sources.0.path"] == "file"
