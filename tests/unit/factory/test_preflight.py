"""What is in the way of a run is found before any work, all at once, in words."""

import shutil
from collections import namedtuple

import pytest

from atelier.errors import UsageError
from atelier.factory import preflight
from atelier.factory.preflight import find_obstacles, require_ready
from atelier.init.project import lay_out
from atelier.params import load_params
from atelier.project import Project
from tests.unit.params.test_defaults import SMALLEST


@pytest.fixture
def project(tmp_path):
    """A project in which everything is there."""
    lay_out(tmp_path, SMALLEST)
    (tmp_path / "raw" / "photos").mkdir(parents=True)
    (tmp_path / "raw" / "photos" / "a.jpg").write_bytes(bytes(1000))
    return Project(tmp_path)


def obstacles(project, *overrides):
    return find_obstacles(project, load_params(project.params_file, overrides))


def test_nothing_is_in_the_way_of_a_whole_project(project):
    assert obstacles(project) == []
    require_ready(project, load_params(project.params_file))


def test_everything_is_named_at_once(project, monkeypatch):
    shutil.rmtree(project.root / ".git")
    shutil.rmtree(project.root / ".dvc")
    shutil.rmtree(project.root / "raw")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    found = obstacles(project, "evaluation.features=inception", "device=cuda")
    assert [line.split(". ")[0] for line in found] == [
        f"{project.root} is in no git repository",
        f"{project.root} has no .dvc folder: nothing would keep the versions of data/",
        f"datasets.photos: {project.root}/raw/photos does not exist",
        f"1.0 MB are free in {project.root}, about 30 MB are needed for pictures, models and "
        "checkpoints",
        "device = cuda, and there is no NVIDIA driver",
    ]
    with pytest.raises(UsageError, match=r"5 things are in the way, nothing was run:\n  .*no git"):
        require_ready(project, load_params(project.params_file, ["device=cuda"]))


def test_a_machine_without_git_is_told_so(project, monkeypatch):
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)
    assert obstacles(project)[0].startswith("git is not installed")


def test_a_missing_default_remote_is_named(project):
    (project.root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (line,) = obstacles(project)
    assert line.startswith("DVC has no default remote")
    (project.root / ".dvc" / "config.local").write_text("[core]\n    remote = mine\n")
    assert obstacles(project) == []


def test_room_is_needed_for_what_is_not_stored_yet_alone(project, monkeypatch):
    (project.root / "raw" / "photos" / "b.jpg").write_bytes(bytes(10**6))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage(0, 0, 50 * 10**6))
    assert "50 MB are free" in obstacles(project)[0] and "about 54 MB" in obstacles(project)[0]
    stored = project.root / "data" / "photos"
    stored.mkdir(parents=True)
    (stored / "dataset.json").write_text("{}")
    assert obstacles(project) == []


def test_an_archive_that_becomes_small_squares_needs_no_room_of_its_own(project, monkeypatch):
    """Who has room is not refused by a guess: what isn't known counts nothing."""
    (project.root / "raw" / "photos.zip").write_bytes(bytes(10**8))
    text = SMALLEST.replace("folder, path: raw/photos", "archive, path: raw/photos.zip")
    project.params_file.write_text(text.replace("photos.zip}", "photos.zip, image_size: 64}"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage(0, 0, 50 * 10**6))
    assert obstacles(project) == []
    project.params_file.write_text(text)  # pictures of their own sizes take what the file takes
    assert "about 330 MB are needed" in obstacles(project)[0]
