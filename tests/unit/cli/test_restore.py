"""`atelier restore` with a registered restorer, as it is typed."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.support.many_commands import register
from tests.support.picture_files import encoded, write_files
from tests.support.places import REPOSITORY
from tests.support.processes import clean_environment, run
from tests.unit.cli.test_mistakes import PARAMS

pytestmark = pytest.mark.service


def register_here():
    from atelier.project import find_project, set_environment

    project = find_project()
    set_environment(project)
    register(project)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which `photo-denoise/1`, a grey restorer, is registered, and some pictures."""
    root = tmp_path_factory.mktemp("project")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / "params.yaml").write_text(PARAMS)
    (root / ".dvc").mkdir()
    done = run(register_here, folder=root)
    assert done.returncode == 0, done.stderr
    deep = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 65536, (20, 24, 3)).astype(np.uint16)
    tifffile.imwrite(deep, values, photometric="rgb")
    files = {
        "in/a.png": encoded(mode="L"),
        "in/2020/b.jpg": encoded(seed=1, file_format="JPEG"),
        "in/2020/c.tif": deep.getvalue(),
        "in/2020/broken.png": encoded()[:-60],
        "in/empty.png": b"",
    }
    write_files(root, files)
    return root


def restore(project, *words):
    """A process of its own, since one of the tests' kind may have no children."""
    source = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "-m", "atelier.cli", "restore", "photo-denoise/1", *words],
        cwd=project,
        env=clean_environment(PYTHONPATH=source, CUDA_VISIBLE_DEVICES=""),
        capture_output=True,
        text=True,
        timeout=240,
    )


def results(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_folder_is_restored_by_one_process_as_by_two(project):
    found = []
    for jobs in ("1", "2"):
        done = restore(project, "in", "-o", f"out{jobs}", "--jobs", jobs)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        notes, _, error = done.stderr.partition("error: ")
        assert "note: 2 pictures of colour went through the grey model" in notes
        head, *lines = error.splitlines()
        assert head == "2 of 5 inputs were not restored:"
        assert sorted(line.strip() for line in lines) == [
            "in/2020/broken.png: truncated or damaged.",
            "in/empty.png: empty.",
        ]
        found.append(results(project / f"out{jobs}"))
    assert found[0] == found[1]
    assert list(found[0]) == ["2020/b.jpg", "2020/c.tif", "a.png"]
    deep = tifffile.imread(io.BytesIO(found[0]["2020/c.tif"]))
    assert deep.dtype == np.uint16 and deep.shape == (20, 24, 3)


def test_what_is_done_is_skipped_and_a_format_can_be_asked_for(project):
    words = ("in/a.png", "-o", "web", "--format", "webp", "--quality", "80", "--compare")
    done = restore(project, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "web: 1 pictures restored by photo-denoise/1\n"
    before = results(project / "web")
    assert list(before) == ["a-compare.webp", "a.webp"]
    with Image.open(io.BytesIO(before["a-compare.webp"])) as image:
        assert image.format == "WEBP" and image.size == (80, 30)
    refused = restore(project, *words)
    assert refused.returncode == 2
    assert "web/a-compare.webp, web/a.webp was there before." in refused.stderr
    skipped = restore(project, *words, "--skip-existing")
    assert skipped.returncode == 0
    assert skipped.stdout == "web: 0 pictures restored by photo-denoise/1\n"
    assert skipped.stderr == "note: 1 pictures were restored before and were left out\n"
    assert results(project / "web") == before
