"""`atelier data ...` as a user meets it.

Processes, exit codes, tables and JSON, on a folder of real files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from atelier.data.versions import dvc
from atelier.params import Dataset
from tests.support import processes
from tests.support.dvc_projects import commit, new_project, params_text, run
from tests.support.stored import ingest_all_stages

pytestmark = pytest.mark.service

PHOTOS = {
    "source": "folder",
    "path": "raw",
    "image_size": 16,
    "channels": 3,
    "test_fraction": 0.25,
    "max_quarantined": 0.5,
}


def add_picture(project, number, folder):
    path = project / "raw" / folder / f"{number:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)).save(
        path
    )


def ingest(project):
    ingest_all_stages(project, "photos", Dataset.model_validate_json(json.dumps(PHOTOS)))
    dvc.track(project)
    dvc.push(project)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two versions of a folder of pictures.

    The second has a class more, and a relabelled picture.
    """
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("site-cache"))
    project = new_project(tmp_path_factory.mktemp("commands") / "project")
    (project / "params.yaml").write_text(params_text({"photos": PHOTOS}))
    for number in range(20):
        add_picture(project, number, ("cat", "dog")[number % 2])
    (project / "raw" / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    ingest(project)
    commit(project, "first pictures")
    (project / "raw" / "cat" / "000.png").rename(project / "raw" / "dog" / "000.png")
    for number in range(20, 24):
        add_picture(project, number, "ant")
    ingest(project)
    commit(project, "ants")
    yield project
    del os.environ["DVC_SITE_CACHE_DIR"]


def atelier(project, *words):
    site_cache = os.environ["DVC_SITE_CACHE_DIR"]
    return processes.atelier(project, "data", *words, DVC_SITE_CACHE_DIR=site_cache)


def answer(project, *words):
    done = atelier(project, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_status_tells_counts_quarantine_and_where_the_bytes_are(project):
    found = answer(project, "status")
    [photos] = found["datasets"]
    assert (photos["state"], photos["reasons"]) == ("fresh", [])
    assert {name: sum(counts.values()) for name, counts in photos["images"].items()} == {
        "ant": 4,
        "cat": 9,
        "dog": 11,
    }
    assert photos["quarantined"] == {"truncated or damaged": 1}
    assert (found["clean"], found["in_remote"]) == (True, True)
    table = atelier(project, "status").stdout
    assert "photos  fresh" in table
    assert "1 in quarantine: truncated or damaged" in table
    assert f"version {dvc.data_md5(project)}: as in data/, all of it in the remote" in table


def test_list_shows_the_versions(project):
    newest, oldest = answer(project, "list")
    assert (newest["subject"], oldest["subject"]) == ("ants", "first pictures")
    assert sum(oldest["datasets"]["photos"].values()) == 20
    table = atelier(project, "list").stdout
    assert table.index("ants") < table.index("first pictures")
    assert newest["revision"][:10] in table and newest["md5"][:10] in table


def test_diff_tells_what_was_added_and_relabelled(project):
    [photos] = answer(project, "diff", "HEAD~1", "HEAD")["datasets"]
    assert photos["counts"]["removed"] == {}
    assert sum(photos["counts"]["added"]["ant"].values()) == 4
    assert [(item["before"], item["after"]) for item in photos["relabelled"]] == [("cat", "dog")]
    table = atelier(project, "diff", "HEAD~1").stdout  # to the working copy, which is HEAD
    assert "4 added:" in table and "1 relabelled: cat -> dog" in table
    assert "photos  same" in atelier(project, "diff").stdout


def test_show_finds_a_picture_and_writes_it(project, tmp_path):
    found = answer(project, "show", "dog/000.png", "-o", str(tmp_path / "out.png"))
    assert (found["dataset"], found["class_name"], found["shard"]) == (
        "photos",
        "dog",
        "shard-00000.bin",
    )
    with (
        Image.open(tmp_path / "out.png") as written,
        Image.open(project / "raw" / "dog" / "000.png") as original,
    ):
        np.testing.assert_array_equal(np.asarray(written), np.asarray(original))
    older = answer(project, "show", found["sha256"][:12], "--rev", "HEAD~1")
    assert older["class_name"] == "cat"
    table = atelier(project, "show", "broken.png").stdout
    assert "truncated or damaged" in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "nothing.png"], "error: no picture 'nothing.png' in now"),
        (
            ["show", "broken.png", "-o", "out.png"],
            "error: cat/broken.png is in quarantine (truncated or damaged)",
        ),
        (["show", "dog/000.png", "-o", "out.xyz"], ".xyz is no picture format"),
        (["diff", "no-such-branch"], "error: 'no-such-branch' is no version of data/"),
        (["checkout", "now"], "error: the working copy is `now` already"),
        (["checkout", "zzz"], "error: 'zzz' is no version of data/"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(project, words, message):
    done = atelier(project, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_lost_version_is_exit_code_1(project):
    done = atelier(project, "diff", "0" * 32)
    assert done.returncode == 1
    assert "neither DVC's cache nor its remote has them" in done.stderr
    assert "Traceback" not in done.stderr


def test_checkout_goes_to_a_version_and_back(project, tmp_path):
    shutil.copytree(project, tmp_path / "project")
    project = tmp_path / "project"
    done = atelier(project, "checkout", "HEAD~1")
    assert done.returncode == 0, done.stderr
    assert "data.dvc differs from git's HEAD: commit it" in done.stdout
    assert run(project, "git", "status", "--short") == " M data.dvc\n"
    assert answer(project, "status")["clean"]
    found = answer(project, "list")
    assert (found[0]["revision"], found[0]["subject"]) == ("now", "the working copy, not committed")
    done = atelier(project, "checkout", "HEAD")
    assert (done.returncode, "differs" in done.stdout) == (0, False)
    assert run(project, "git", "status", "--short") == ""
    assert "was already version" in atelier(project, "checkout", "HEAD").stdout


def test_help_answers_without_loading_anything_heavy(project):
    heavy = "{'dvc', 'torch', 'numpy', 'mlflow'}"
    code = f"import sys, atelier.cli; assert not {heavy} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "checkout" in atelier(project, "--help").stdout
