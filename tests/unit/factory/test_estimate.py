"""What the plan says of time and disk: from budgets, earlier runs and measurements."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from atelier.factory import Factory, measurement
from atelier.factory.estimate import add_estimates
from atelier.factory.measurement import measure
from atelier.factory.plan import Item, make_plan
from atelier.factory.train import train as train_and_register
from atelier.params import Params
from atelier.project import Project
from atelier.registry import Registry
from tests.support.stored import store_pictures
from tests.support.tiny import RECIPES, tiny_params, train
from tests.unit.conftest import FASHION

pytestmark = pytest.mark.service

LONGER = {"kimg": 2, "log_every_kimg": 1, "sample_every_kimg": 2, "checkpoint_every_kimg": 2}


def params_of(models, **changes):
    raw = tiny_params(models).as_json()
    raw["datasets"] = {"fashion": FASHION.model_dump(mode="json", exclude_none=True)}
    return Params.model_validate_json(json.dumps({**raw, **changes}))


def with_training(recipe, **training):
    """The desired state with one model, `model`, of this recipe."""
    raw = params_of({"model": RECIPES[recipe]}).as_json()
    changed = {**raw["models"]["model"]["training"], **training}
    raw["models"]["model"]["training"] = {k: v for k, v in changed.items() if v is not None}
    return Params.model_validate_json(json.dumps(raw))


def estimate_of(project, params):
    """The plan's line about `model`, with its estimate."""
    factory = Factory(project, params, Registry(project))
    items = [Item("model", params.models["model"].kind, "missing", ("new",), "train")]
    return add_estimates(factory, items)[0]


def without_training(monkeypatch):
    """Whatever trains to measure fails from here on."""

    def fail(*arguments):
        raise AssertionError("it was trained")

    monkeypatch.setattr(measurement, "LOOPS", dict.fromkeys(measurement.LOOPS, fail))


@pytest.fixture
def project(registry, tmp_path):
    return Project(tmp_path)


@pytest.mark.parametrize(("threads", "seconds"), [(1, 180.0), (2, 90.0)])
def test_a_budget_in_minutes_is_shared_by_the_threads_of_a_cpu(
    project, threads, seconds, monkeypatch
):
    without_training(monkeypatch)
    params = with_training("cnn", kimg=None, minutes=3).model_copy(update={"threads": threads})
    assert estimate_of(project, params).seconds == seconds


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_what_is_measured_is_like_the_speed_that_a_training_reports(
    recipe, project, fashion, tmp_path
):
    params = with_training(recipe, **LONGER)
    ratios = []
    while not any(0.5 < ratio < 2 for ratio in ratios):
        assert len(ratios) < 3, ratios  # the machine may be busier during one than the other
        measured = measure(project, params, "model", [10])
        folder = tmp_path / f"real{len(ratios)}"
        reported = []
        train(
            params.models["model"],
            fashion,
            folder,
            on_log=lambda _, values, to=reported: to.append(values["images_per_second"]),
        )
        ratios.append(measured.images_per_second / reported[-1])
    sizes = [file.stat().st_size for file in folder.iterdir()]
    assert 0.9 < measured.checkpoint_bytes / max(sizes) < 1.1
    assert 0 < measured.weights_bytes < measured.checkpoint_bytes / 3


def test_a_second_plan_trains_nothing_unless_the_model_is_another(project, monkeypatch):
    first = estimate_of(project, with_training("cnn", kimg=10))
    assert first.seconds > 0 and first.bytes > 0
    assert (project.cache / "speeds.json").is_file()
    without_training(monkeypatch)
    assert estimate_of(project, with_training("cnn", kimg=10)) == first
    longer = estimate_of(project, with_training("cnn", kimg=30, lr=1e-3))
    assert longer == replace(first, seconds=pytest.approx(3 * first.seconds))
    assert estimate_of(project, with_training("cnn", kimg=10, batch_size=32)).seconds is None


def test_what_can_not_be_measured_is_left_out_of_a_whole_plan(project, monkeypatch):
    without_training(monkeypatch)
    params = params_of({"cnn": RECIPES["cnn"]})
    plan = make_plan(Factory(project, params, Registry(project)))
    estimates = add_estimates(Factory(project, params, Registry(project)), plan)
    assert [replace(item, bytes=None) for item in estimates] == plan
    assert estimates[-1].as_json()["seconds"] is estimates[-1].as_json()["bytes"] is None
    (project.cache / "speeds.json").write_text("{")  # nor does a broken note stop it
    assert add_estimates(Factory(project, params, Registry(project)), plan) == estimates


def test_an_earlier_run_of_the_same_model_tells_its_speed(registry, fashion, monkeypatch):
    project = registry._connection.project
    names = fashion.info.class_names
    labels_N = fashion.labels("train")
    pictures = [
        (x_HWC, names[labels_N[i]], "test" if i % 4 == 0 else "train")
        for i, x_HWC in enumerate(fashion.images("train")[:])
    ]
    store_pictures(project.root, "fashion", FASHION, pictures, names)
    (project.root / "data.dvc").write_text(
        f"outs:\n- md5: {'0' * 32}.dir\n  hash: md5\n  path: data\n"
    )
    without_training(monkeypatch)
    params = with_training("cnn")
    train_and_register(Factory.open(project, params), "model", "")
    run = registry.runs.newest_training("model")
    longer = estimate_of(project, with_training("cnn", kimg=7, lr=1e-3))
    assert longer.seconds == pytest.approx(7000 / run.metrics["images_per_second"])
    assert longer.bytes == 4 * 9 * run.metrics["cost/parameters"]
    for other in (with_training("cnn", batch_size=32), with_training("crnn")):
        assert estimate_of(project, other).seconds is None
    two_threads = params.model_copy(update={"threads": 2})
    assert estimate_of(project, two_threads).seconds is None


def test_where_all_is_fresh_or_remembered_no_torch_is_imported(project):
    estimate_of(project, with_training("cnn", kimg=10))
    (project.root / "params.json").write_text(json.dumps(with_training("cnn", kimg=20).as_json()))
    script = """
import sys
from pathlib import Path
from atelier.factory import Factory
from atelier.factory.estimate import add_estimates
from atelier.factory.plan import Item
from atelier.params import Params
from atelier.project import Project
from atelier.registry import Registry
project = Project(Path.cwd())
params = Params.model_validate_json(Path("params.json").read_text())
plan = [Item("model", "restoration", state, (), action)
        for state, action in (("fresh", ""), ("stale", "train"))]
fresh, stale = add_estimates(Factory(project, params, Registry(project)), plan)
assert fresh.seconds is None and stale.seconds > 0, stale
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project.root,
        env=dict(os.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
