"""The pages build as a site: no warning, no link to nowhere, and every key can be looked up."""

import subprocess
import sys

import pytest
from sphinx.util.inventory import InventoryFile

from tests.support.places import REPOSITORY
from tests.support.processes import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.service]


def build(folder, docs=REPOSITORY / "docs"):
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(docs), str(folder)]
    return subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_keys_and_options_can_be_looked_up_by_name(site):
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    assert "models.NAME.training.kimg" in inventory["std:confval"]
    assert "atelier-run.--set" in inventory["std:cmdoption"]


def test_files_outside_of_the_pages_come_along(site):
    copies = {path.name for path in (site / "_downloads").rglob("*.*")}
    assert {"params.yaml", "photographs.yaml"} <= copies


def test_pages_need_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text
        assert '<link href="http' not in text
