"""The main flow from end to end on real images, and what a second one does.

The tests run in this order.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atelier.data.store import LOCAL_NOTES, read_dataset
from atelier.data.versions import dvc
from tests.flows.conftest import REPOSITORY, SmallProject
from tests.support.processes import clean_environment, command, started

pytestmark = pytest.mark.flow

MODELS = [
    "fashion-classifier",
    "fashion-gan",
    "fashion-denoise",
    "fashion-inpaint",
    "fashion-unpaired",
]
VERBS = ("train", "evaluate", "inspect", "judge")
DENOISE = "models.fashion-denoise.training"
SLOWER = ("-S", f"{DENOISE}.lr=1e-4", "-S", f"{DENOISE}.checkpoint_every_kimg=1")


def history(project: SmallProject) -> dict[str, dict]:
    answer = project("history", "--json")
    assert answer.returncode == 0, answer.stderr
    return {f"{entry['model']}/{entry['version']}": entry for entry in json.loads(answer.stdout)}


def test_every_model_is_registered_scored_and_promoted(finished_project):
    entries = history(finished_project)
    assert set(entries) == {f"{name}/1" for name in MODELS}
    for entry in entries.values():
        assert entry["aliases"] == ["champion"]
        assert entry["verdict"] == "promoted" and entry["reasons"]
        assert entry["data_md5"].endswith(".dir") and len(entry["git_commit"]) == 40
        assert entry["metrics"]
        for score in entry["metrics"].values():
            assert score["low"] <= score["value"] <= score["high"]
    assert (
        entries["fashion-classifier/1"]["metrics"]["accuracy"]["value"] > 0.5
    )  # of ten classes, after 12,000 images
    assert (
        entries["fashion-denoise/1"]["metrics"]["psnr"]["value"] > 16
    )  # the degraded images have 14 dB


def test_the_task_history_outlives_the_process(finished_project):
    with sqlite3.connect(finished_project.root / ".prefect" / "prefect.db") as database:
        flows = database.execute("select name, state_type from flow_run").fetchall()
        tasks = database.execute("select name, state_type from task_run").fetchall()
    assert [state for _, state in flows] == ["COMPLETED"]
    expected = {f"{stage} fashion" for stage in ("read", "validate", "store", "describe")}
    expected |= {f"train {name}" for name in MODELS}
    expected |= {
        f"{stage} {name}/1" for name in MODELS for stage in ("evaluate", "inspect", "promote")
    }
    assert expected <= {name for name, _ in tasks}
    assert {state for _, state in tasks} == {"COMPLETED"}


def test_the_data_are_versioned_and_the_work_tree_is_clean(finished_project):
    assert "up to date" in finished_project.program("dvc", "status").stdout
    assert dvc.data_md5(finished_project.root) == dvc.data_md5(REPOSITORY)  # the shipped data.dvc
    stored = read_dataset(finished_project.root, "fashion")
    assert stored.info.counts == {"train": 56_993, "validation": 2_974, "test": 10_000}
    assert stored.quarantined == {"near duplicate": 19, "near duplicate across splits": 14}
    assert (
        np.bincount(stored.labels("test")).tolist() == [1000] * 10
    )  # the published test set stays whole
    assert finished_project.git("status", "--porcelain") == ""


def test_a_second_clone_pulls_the_data(finished_project):
    clone = SmallProject(finished_project.root.with_name("clone"))
    subprocess.run(["git", "clone", "-q", finished_project.root, clone.root], check=True)
    store = str(finished_project.root / ".dvcstore")
    assert (
        clone.program("dvc", "remote", "modify", "--local", "local", "url", store).returncode == 0
    )
    pulled = clone.program("dvc", "pull")
    assert pulled.returncode == 0, pulled.stderr
    names = {path.name for path in (clone.root / "data" / "fashion").iterdir()}
    assert names == {
        path.name for path in (finished_project.root / "data" / "fashion").iterdir()
    } - set(LOCAL_NOTES)
    shutil.rmtree(clone.root)


def test_the_dataset_is_shown_in_mlflow_and_prefect_and_named_by_every_run_that_used_it(
    finished_project,
):
    from mlflow import MlflowClient

    md5 = dvc.data_md5(finished_project.root)
    client = MlflowClient(f"sqlite:///{finished_project.root / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("datasets").experiment_id])
    shown = {item.path for item in client.list_artifacts(run.info.run_id)}
    pictures = {
        f"{name}.png" for name in ("train", "validation", "test", "histograms", "quarantine")
    }
    assert shown >= {*pictures, "quarantine.csv", "validation.md", "dataset.json"}
    assert run.info.status == "FINISHED"
    assert run.data.metrics["images/test"] == 10_000
    for name in MODELS:
        (run,) = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        (used,) = run.inputs.dataset_inputs  # scored on the data that it was trained on: one input
        assert (used.dataset.name, used.dataset.digest, used.tags[0].value) == (
            "fashion",
            md5,
            "training",
        )
    with sqlite3.connect(finished_project.root / ".prefect" / "prefect.db") as database:
        artifacts = dict(database.execute("select key, data from artifact").fetchall())
    assert set(artifacts) >= {"validation-fashion", "quarantine-fashion", "data-fashion"}
    assert "near duplicate across splits" in artifacts["validation-fashion"]
    assert artifacts["data-fashion"].count("data:image/png;base64,") == 5


def test_the_plan_says_that_nothing_is_stale(finished_project):
    plan = json.loads(finished_project("plan", "--json").stdout)
    assert [item["name"] for item in plan] == ["fashion", *MODELS]
    assert {item["state"] for item in plan} == {"fresh"}
    keys = {"name", "kind", "state", "reasons", "seconds", "bytes"}
    assert all(item.keys() == keys for item in plan)
    assert all(item["seconds"] is item["bytes"] is None for item in plan)


def test_a_second_run_does_nothing_in_seconds(finished_project):
    before = history(finished_project)
    again = finished_project("run")
    assert again.returncode == 0 and "Nothing to do" in again.stdout
    assert history(finished_project) == before


def test_champions_generate_and_restore(finished_project, tmp_path):
    grid = tmp_path / "grid.png"
    made = finished_project(
        "generate", "fashion-gan", "-n", "6", "-o", str(grid), "--class", "Sneaker", "--seed", "3"
    )
    assert made.returncode == 0, made.stderr
    assert Image.open(grid).size[0] > 28
    noisy = tmp_path / "noisy.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 31), np.uint8)).save(noisy)
    for model in ("fashion-denoise", "fashion-unpaired"):
        restored = finished_project(
            "restore", f"{model}@champion", str(noisy), "-o", str(tmp_path / model)
        )
        assert restored.returncode == 0, restored.stderr
        assert Image.open(tmp_path / model / "noisy.png").size == (31, 37)
    fetched = finished_project("pictures", "-o", str(tmp_path / "pictures"))
    assert fetched.returncode == 0, fetched.stderr
    names = {Path(line).name for line in fetched.stdout.splitlines()}
    gan = {f"fashion-gan-{name}.png" for name in ("generated", "interpolation", "memorisation")}
    restorers = {
        f"{model}-restored.png"
        for model in ("fashion-denoise", "fashion-inpaint", "fashion-unpaired")
    }
    assert names > {
        "fashion-classifier-confusion.png",
        "fashion-classifier-gradcam.png",
        *gan,
        *restorers,
    }


SERVE = """
import sys
import time
import mlflow, numpy as np
model = mlflow.pyfunc.load_model("models:/fashion-denoise@champion")
x_NCHW = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
y_NCHW = model.predict(x_NCHW)
assert y_NCHW.shape == x_NCHW.shape and y_NCHW.dtype == np.float32, (y_NCHW.shape, y_NCHW.dtype)
assert 0 <= y_NCHW.min() and y_NCHW.max() <= 1
assert not [name for name in sys.modules if name == "atelier" or name.startswith("atelier.")]
"""


def test_a_champion_is_served_without_the_project(finished_project, tmp_path):
    uri = f"sqlite:///{finished_project.root / 'mlflow.db'}"
    environment = {**clean_environment(), "MLFLOW_TRACKING_URI": uri}
    served = subprocess.run(
        [sys.executable, "-c", SERVE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert served.returncode == 0, served.stderr


def test_nothing_stored_can_run_code(finished_project):
    pickles = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".npy"}
    stored = [finished_project.root / name for name in ("data", "mlruns", ".atelier")]
    found = [path for folder in stored for path in folder.rglob("*") if path.suffix in pickles]
    assert found == []


def test_dvc_shows_a_changed_parameter(finished_project):
    params = finished_project.root / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("seed: 7", "seed: 8"))
    shown = finished_project.program("dvc", "params", "diff")
    params.write_text(text)
    assert "seed" in shown.stdout, shown.stderr


def test_one_learning_rate_retrains_one_model(finished_project, prefect_api):
    plan = json.loads(finished_project("plan", *SLOWER, "--json").stdout)
    stale = [item for item in plan if item["state"] != "fresh"]
    assert [item["name"] for item in stale] == ["fashion-denoise"]
    assert stale[0]["reasons"] == ["params: training.lr 0.002 -> 0.0001"]
    assert stale[0]["seconds"] > 0 and stale[0]["bytes"] > 0  # as the first one took

    kill_at_first_checkpoint(finished_project, "fashion-denoise", *SLOWER)
    unfinished = runs(finished_project, "fashion-denoise")[-1]
    assert unfinished[1] == "RUNNING"
    done = finished_project("run", *SLOWER, PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "elapsed" in line]
    for number, (line, verb) in enumerate(zip(lines, VERBS, strict=True), start=1):
        assert f"[{number}/4] fashion-denoise: {verb}  elapsed 0:" in line
    assert "to go" in lines[0]
    assert runs(finished_project, "fashion-denoise")[-1] == (
        unfinished[0],
        "FINISHED",
    )  # it went on

    entries = history(finished_project)
    assert set(entries) == {*(f"{name}/1" for name in MODELS), "fashion-denoise/2"}
    assert entries["fashion-denoise/2"]["run_id"] == unfinished[0]
    assert (
        entries["fashion-denoise/2"]["verdict"] == "kept"
    )  # a twentieth of the learning rate learns less
    assert entries["fashion-denoise/2"]["aliases"] == ["challenger"]
    assert entries["fashion-denoise/1"]["aliases"] == ["champion"]


def kill_at_first_checkpoint(project: SmallProject, model: str, *arguments: str) -> None:
    checkpoints = project.root / ".atelier" / "checkpoints" / model
    with started(command, "run", model, *arguments, folder=project.root) as victim:
        # The first checkpoint is of the untrained network.
        while not list(checkpoints.glob("*/checkpoint-*[1-9]*.pt")):
            assert victim.process.is_alive(), "it ended before its first checkpoint"
            time.sleep(0.02)
        # With its embedded Prefect API, as when the machine goes down.
        os.killpg(victim.process.pid, signal.SIGKILL)
        assert victim.wait().returncode == -signal.SIGKILL


def runs(project: SmallProject, model: str) -> list[tuple[str, str]]:
    query = (
        "select r.run_uuid, r.status from runs r join experiments e on r.experiment_id = "
        "e.experiment_id "
        "where e.name = ? order by r.start_time"
    )
    with sqlite3.connect(project.root / "mlflow.db") as database:
        return database.execute(query, (model,)).fetchall()


def test_promote_and_rollback_move_the_title(finished_project):
    before = history(finished_project)
    would = finished_project("promote", "fashion-denoise", "--reason", "a test", "--dry-run")
    assert would.stdout == (
        "fashion-denoise/2 would be promoted.\nChampion would be fashion-denoise/2; previous: 1.\n"
    )
    assert history(finished_project) == before
    promoted = finished_project(
        "promote", "fashion-denoise", "2", "--reason", "a test of promotion"
    )
    assert promoted.returncode == 0, promoted.stderr
    assert (
        promoted.stdout
        == "fashion-denoise/2 promoted.\nChampion is fashion-denoise/2; previous: 1.\n"
    )
    entries = history(finished_project)
    assert entries["fashion-denoise/2"]["aliases"] == ["champion"]
    assert entries["fashion-denoise/1"]["aliases"] == ["previous"]
    assert entries["fashion-denoise/2"]["reasons"] == ["by hand: a test of promotion"]
    rolled_back = finished_project("rollback", "fashion-denoise", "--reason", "and of the way back")
    assert rolled_back.returncode == 0, rolled_back.stderr
    entries = history(finished_project)
    assert entries["fashion-denoise/1"]["aliases"] == ["champion"]
    assert entries["fashion-denoise/2"]["verdict"] == "rolled back"
    assert entries["fashion-denoise/2"]["reasons"] == ["and of the way back"]
    ledger = json.loads(finished_project("ledger", "fashion-denoise", "--json").stdout)
    decisions = [
        (entry["decision"]["action"], entry["decision"]["version"]) for entry in ledger["entries"]
    ]
    assert decisions == [("promoted", 1), ("kept", 2), ("promoted", 2), ("rolled back", 2)]
    assert ledger["entries"][0]["decision"]["flow_run_id"] and ledger["drift"] == []


def test_blessings_and_scores_of_single_images_are_kept_with_the_version(finished_project):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished_project.root / 'mlflow.db'}")
    for name in MODELS:
        run_id = history(finished_project)[f"{name}/1"]["run_id"]
        folders = ("blessings", "evaluation", "card")
        found = {item.path for folder in folders for item in client.list_artifacts(run_id, folder)}
        assert {
            "blessings/quality.json",
            "blessings/infrastructure.json",
            "evaluation/units.csv",
        } <= found
        assert {"card/card.md", "card/card.html"} <= found
    page = finished_project("card", "fashion-gan", "-o", "card.html")
    assert page.returncode == 0, page.stderr
    card = (finished_project.root / "card.html").read_text()
    (finished_project.root / "card.html").unlink()
    assert (
        card.count("<img ") >= 2
        and "Draws new images like those of fashion" in card
        and "Zalando" in card
    )


def test_changing_the_evaluation_retrains_nothing(finished_project, prefect_api):
    change = ("-S", "evaluation.num_images=200")
    plan = json.loads(finished_project("plan", "fashion-denoise", *change, "--json").stdout)
    reasons = {item["name"]: item["reasons"] for item in plan if item["state"] == "stale"}
    assert reasons["fashion-denoise"] == ["evaluation: params: num_images 300 -> 200"]
    before = history(finished_project)
    done = finished_project("run", "fashion-denoise", *change, PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    after = history(finished_project)
    assert after.keys() == before.keys()
    scores = [
        entries["fashion-denoise/1"]["metrics"]["psnr"]["value"] for entries in (before, after)
    ]
    assert scores[0] != scores[1]
