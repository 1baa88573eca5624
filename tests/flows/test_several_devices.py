"""One training in two processes on the CPU, started by torch's own launcher.

As in one process, and never hanging.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.flows.test_stopped_trainings import MODELS, labelled_pictures, newest_checkpoint, runs
from tests.support.processes import PROCESSES
from tests.support.tiny import BATCH, RHYTHM, TRAINING, tiny_params

pytestmark = pytest.mark.flow

STEPS = {
    **TRAINING,
    **RHYTHM,
    "lr": 5e-4,
    "kimg": 20 * BATCH / 1000,
    "checkpoint_every_kimg": 0.1,
    "log_every_kimg": 0.001,
}
LONG = {**STEPS, "kimg": 30.0, "checkpoint_every_kimg": 0.16}


def train(root: str, name: str, training: dict) -> None:
    os.setpgrp()
    from atelier.project import Project, set_environment

    os.environ.pop(
        "MLFLOW_TRACKING_URI", None
    )  # of the file of tests that started the server which forks
    set_environment(Project(Path(root)))
    from atelier.errors import TrainingError
    from atelier.factory import Factory
    from atelier.factory.train import train

    model = {**MODELS[name], "discriminator_augment": None} if name == "gan" else MODELS[name]
    try:
        train(Factory.open(Project(Path(root)), tiny_params({name: model}, training)), name, "")
    except TrainingError as error:
        Path(root, "error.txt").write_text(str(error))
        raise SystemExit(1) from None


def started(root: Path, name: str, **training) -> object:
    process = PROCESSES.Process(target=train, args=(str(root), name, training), daemon=True)
    process.start()
    return process


def curves(root: Path) -> dict[str, np.ndarray]:
    """Each metric's values in the order of their steps."""
    with sqlite3.connect(root / "mlflow.db") as database:
        rows = database.execute("select key, step, value from metrics order by step").fetchall()
    return {key: np.array([value for name, _, value in rows if name == key]) for key, _, _ in rows}


@pytest.fixture
def root(tmp_path) -> Path:
    labelled_pictures(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_lose_what_one_loses_and_one_of_them_logs(root, name, tmp_path_factory):
    losses = {}
    for devices in (1, 2):
        project = root if devices == 1 else tmp_path_factory.mktemp("two")
        if devices == 2:
            labelled_pictures(project)
        process = started(project, name, **STEPS, devices=devices)
        process.join(200)
        assert process.exitcode == 0
        losses[devices] = {
            key: curve for key, curve in curves(project).items() if key.endswith("loss")
        }
    for key, one in losses[1].items():
        assert one.shape == (20,)  # each step once, though there are two processes
        np.testing.assert_allclose(losses[2][key], one, atol=1e-5)
    with sqlite3.connect(project / "mlflow.db") as database:
        told = dict(database.execute("select key, value from params").fetchall())
    assert (told["processes"], told["threads"]) == ("2", "1")


def workers(root: Path) -> list[int]:
    """The processes that train this project."""
    found = subprocess.run(
        ["pgrep", "-f", "atelier.factory.worker"], capture_output=True, text=True
    ).stdout.split()
    ours = []
    for pid in map(int, found):
        try:
            launcher = b"torch.distributed.run" in Path(f"/proc/{pid}/cmdline").read_bytes()
            here = Path(f"/proc/{pid}/environ").read_bytes().find(bytes(root)) >= 0
        except OSError:
            continue
        if here and not launcher:
            ours.append(pid)
    return ours


def test_a_worker_that_is_killed_fails_the_run_which_then_goes_on_from_the_checkpoint(root):
    process = started(root, "crnn", **LONG, devices=2)
    deadline = time.monotonic() + 120
    while newest_checkpoint(root) < 160:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    victims = workers(root)
    assert len(victims) == 2
    os.kill(victims[-1], signal.SIGKILL)
    process.join(90)
    assert process.exitcode == 1  # not None: it didn't hang
    assert "one of the 2 processes" in (root / "error.txt").read_text()
    assert workers(root) == []
    ((run, status),) = runs(root)
    assert status == "FAILED"
    reached = newest_checkpoint(root)
    again = started(root, "crnn", **LONG, devices=2)
    while newest_checkpoint(root) <= reached:
        assert again.is_alive() and time.monotonic() < deadline + 120
        time.sleep(0.02)
    os.kill(again.pid, signal.SIGTERM)
    again.join(90)
    assert again.exitcode == -signal.SIGTERM
    assert workers(root) == []
    assert runs(root) == [(run, "KILLED")]
