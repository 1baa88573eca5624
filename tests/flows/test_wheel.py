"""The wheel is a complete start: what it holds begins a project without the repository."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.support.places import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.service]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The files of a freshly built wheel, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(REPOSITORY)], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def atelier(unpacked, folder, *words):
    """A command of the wheel; its own folder stands before every other on the path."""
    script = "from atelier.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, *words]
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_project_begins_with_each_example(unpacked, tmp_path):
    for name in ("fashion", "photographs"):
        output = atelier(unpacked, tmp_path, "init", name, "--example", name)
        assert "created: .git, .gitignore, .dvcignore, .dvc/config" in output
        shown = atelier(unpacked, tmp_path / name, "params", "--all")
        assert "evaluation.confidence" in shown


def test_templates_and_flows_are_there(unpacked):
    script = (
        "from atelier.ui.pages import render; import flows.reconcile, atelier.ui.pages; "
        "print(atelier.ui.pages.__file__); print(flows.reconcile.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-P", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert all(line.startswith(str(unpacked)) for line in done.stdout.splitlines())
    for name in ("card.html", "card.md", "comparison.html", "report.html"):
        assert (unpacked / "atelier" / "ui" / "templates" / name).is_file()


def test_the_pages_of_the_service_are_there(unpacked):
    own = REPOSITORY / "src" / "atelier" / "service" / "pages"
    names = {page.name for page in own.iterdir()}
    assert {"index.html", "docs.html", "page.css", "page.js"} <= names
    assert {page.name for page in (unpacked / "atelier/service/pages").iterdir()} == names
