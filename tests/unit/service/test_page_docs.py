"""The page for programs, in a real browser."""

import shlex
import subprocess

import httpx
import pytest

from tests.support.page_visits import ask_generate, ask_restore
from tests.unit.service.conftest import MODELS

pytestmark = [pytest.mark.service, pytest.mark.slow]


def test_the_lines_for_curl_work_as_they_stand(tab, address, picture_file, tmp_path):
    path = picture_file("picture.png", "L")
    tab.open(f"{address}/docs")
    tab.wait_for("document.querySelectorAll('pre').length")
    lines = tab.get("[...document.querySelectorAll('pre')].map((line) => line.textContent)")
    assert len(lines) == 5
    for line in lines:
        subprocess.run(shlex.split(line), cwd=tmp_path, check=True, capture_output=True)
    restorer = sorted(name for name, (kind, _) in MODELS.items() if kind == "restoration")[0]
    wanted = ask_restore(address, restorer, path)
    assert (tmp_path / "restored.png").read_bytes() == wanted
    assert (tmp_path / "generated.png").read_bytes() == ask_generate(address, seed=0, number=16)


def test_every_route_and_parameter_is_explained(tab, address):
    tab.open(f"{address}/docs")
    tab.wait_for("document.querySelectorAll('pre').length")
    words = tab.text("#routes")
    api = httpx.get(f"{address}/openapi.json").json()
    names = [*api["paths"], *api["components"]["schemas"]["Wish"]["properties"]]
    for verbs in api["paths"].values():
        names += [one["name"] for one in verbs.get("post", {}).get("parameters", [])]
    assert [name for name in names if name not in words] == []
    assert "integer, at least 1, at most 100 · in the query" in words
