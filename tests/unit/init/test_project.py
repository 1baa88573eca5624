"""The files of a new project: made where they are missing, and never replaced."""

import os
import subprocess

import pytest

from atelier.data.versions import dvc
from atelier.errors import UsageError
from atelier.init.examples import examples, read_example
from atelier.init.project import lay_out
from atelier.params import load_params
from tests.support.dvc_projects import run

FILES = [".git", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "params.yaml"]


def done(steps):
    return {step.name: step.done for step in steps}


def test_an_empty_folder_becomes_a_project_and_a_second_call_changes_nothing(tmp_path):
    root = tmp_path / "new" / "project"
    assert done(lay_out(root, "seed: 1\n")) == dict.fromkeys(FILES, "created")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert done(lay_out(root, "seed: 2\n")) == dict.fromkeys(FILES, "kept")
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_lines_are_added_to_what_is_ignored_already(tmp_path):
    (tmp_path / ".gitignore").write_text("secret\nmlruns/")
    assert done(lay_out(tmp_path, None, ["/raw"]))[".gitignore"] == "extended"
    lines = (tmp_path / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["secret", "mlruns/"] and lines.count("mlruns/") == 1 and "/raw" in lines
    assert done(lay_out(tmp_path, None, ["/raw"]))[".gitignore"] == "kept"


def test_inside_of_a_repository_no_other_is_made(tmp_path):
    run(tmp_path, "git", "init", "-q")
    (tmp_path / "sub").mkdir()
    assert done(lay_out(tmp_path / "sub", None))[".git"] == "kept"
    assert not (tmp_path / "sub" / ".git").exists()


@pytest.mark.service
def test_dvc_works_in_it(tmp_path):
    lay_out(tmp_path, None)
    (tmp_path / "data" / "photos").mkdir(parents=True)
    (tmp_path / "data" / "photos" / "dataset.json").write_text("{}")
    (tmp_path / "data" / "photos" / "manifest.csv").write_text("sha256")
    md5 = dvc.track(tmp_path)
    dvc.push(tmp_path)
    assert dvc.in_remote(tmp_path, md5) and (tmp_path / ".dvcstore").is_dir()
    run(tmp_path, "git", "add", "-A")
    listed = subprocess.run(["git", "ls-files"], cwd=tmp_path, capture_output=True, text=True)
    assert set(listed.stdout.split()) == {
        ".dvc/.gitignore",
        ".dvc/config",
        ".dvcignore",
        ".gitignore",
        "data.dvc",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="can't be written"):
        lay_out(tmp_path, None)


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file can't be written: File exists"):
        lay_out(tmp_path / "file", None)


def test_every_example_is_a_whole_params_file(tmp_path):
    assert {"fashion", "photographs"} <= examples().keys()
    for name in examples():
        (tmp_path / "params.yaml").write_text(read_example(name))
        load_params(tmp_path / "params.yaml")


def test_another_name_of_an_example_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="no example 'fashon'. Did you mean 'fashion'"):
        read_example("fashon")
