"""Trainings that are killed or asked to stop, with real processes and real MLflow.

Nothing is lost, nothing differs.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from atelier.project import Project, set_environment
from tests.support.processes import PROCESSES
from tests.support.stored import stored_dataset
from tests.support.tiny import R3_GAN, RECIPES, RHYTHM, TRAINING, tiny_params

pytestmark = pytest.mark.flow

LONG = {**TRAINING, **RHYTHM, "kimg": 1.28, "checkpoint_every_kimg": 0.08, "log_every_kimg": 0.16}
MODELS = {
    "gan": {
        **RECIPES["gan"],
        **R3_GAN,
        "discriminator_augment": {
            "colour": True,
            "cutout": 0.5,
            "probability": "adaptive",
            "adapt_kimg": 2.0,
        },
    },
    "crnn": RECIPES["crnn"],
}


def train(root: str, name: str) -> None:
    """What the flow's task does, in a process of its own."""
    os.setpgrp()
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # of the tests that started the server which forks
    set_environment(Project(Path(root)))
    from atelier.factory import Factory
    from atelier.factory.train import train

    torch.set_num_threads(1)
    train(Factory.open(Project(Path(root)), tiny_params({name: MODELS[name]}, LONG)), name, "")


def started(root: Path, name: str) -> BaseProcess:
    process = PROCESSES.Process(target=train, args=(str(root), name), daemon=True)
    process.start()
    return process


def newest_checkpoint(root: Path) -> int:
    """Images seen at the newest checkpoint."""
    return max(
        (int(file.stem[-12:]) for file in root.glob(".atelier/checkpoints/*/*/checkpoint-*.pt")),
        default=-1,
    )


def wait_for_checkpoint(process: BaseProcess, root: Path, after: int) -> None:
    deadline = time.monotonic() + 120
    while newest_checkpoint(root) <= after:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.005)


def finish(root: Path, name: str) -> dict[str, torch.Tensor]:
    """Train to the end; returns the registered weights."""
    process = started(root, name)
    process.join(200)
    assert process.exitcode == 0
    (weights,) = root.glob("mlruns/**/weights.safetensors")
    return load_file(weights)


def runs(root: Path) -> list[tuple[str, str]]:
    """Id and status of each run in MLflow's database."""
    with sqlite3.connect(root / "mlflow.db") as database:
        return database.execute("select run_uuid, status from runs").fetchall()


def labelled_pictures(root: Path) -> None:
    """Make a project with sixty pictures of four classes."""
    pictures = list(np.random.default_rng(0).integers(0, 256, (60, 28, 28, 1), np.uint8))
    stored_dataset(
        root, pictures, [f"class {i % 4}" for i in range(60)], name="fashion", image_size=28
    )
    (root / "params.yaml").write_text("{}")


@pytest.fixture
def root(tmp_path) -> Path:
    labelled_pictures(tmp_path)
    return tmp_path


@pytest.fixture(scope="module", params=MODELS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def whole(name, tmp_path_factory) -> dict[str, torch.Tensor]:
    """The weights of a training that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    labelled_pictures(root)
    return finish(root, name)


def test_a_training_killed_at_random_moments_ends_bit_identical_in_the_same_run(root, name, whole):
    moments, reached = random.Random(name), -1
    for _ in range(4):
        process = started(root, name)
        wait_for_checkpoint(process, root, reached)
        time.sleep(moments.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        reached = newest_checkpoint(root)
    assert 0 < reached < 1280
    before = runs(root)
    assert [status for _, status in before] == ["RUNNING"]  # nobody could tell
    weights = finish(root, name)
    assert [key for key in whole if not torch.equal(whole[key], weights[key])] == []
    assert runs(root) == [(before[0][0], "FINISHED")]
    assert newest_checkpoint(root) == -1


def test_a_training_that_is_asked_to_stop_leaves_a_checkpoint_and_a_run_that_says_so(
    root, name, whole
):
    process = started(root, name)
    wait_for_checkpoint(process, root, 0)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == -signal.SIGTERM
    ((run, status),) = runs(root)
    assert status == "KILLED"
    with sqlite3.connect(root / "mlflow.db") as database:
        ((note,),) = database.execute(
            "select value from tags where key = 'mlflow.note.content'"
        ).fetchall()
    assert "stopped by a signal" in note
    weights = finish(root, name)
    assert [key for key in whole if not torch.equal(whole[key], weights[key])] == []
    assert runs(root) == [(run, "FINISHED")]
