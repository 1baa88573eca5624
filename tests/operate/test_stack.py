"""The stack as a person has it: real servers, real schedules, real kills. Part of `make ci`."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from atelier.processes import with_variable
from tests.dvc_projects import commit, new_project

pytestmark = [pytest.mark.slow, pytest.mark.service]

PARAMS = """
seed: 7
device: cpu
threads: 1
evaluation: {num_images: 100, confidence: 0.95}
promotion: {restoration: {metric: psnr}}
datasets: {photos: {source: folder, path: raw, image_size: 16, channels: 1, test_fraction: 0.3}}
models:
  denoise:
    kind: restoration
    dataset: photos
    degradation: [{noise: {sigma: 0.2}}]
    network: {name: cnn, width: 8, depth: 3}
    loss: l2
    training: {kimg: KIMG, batch_size: 16, lr: 0.002, warmup_kimg: 0.1, ema_halflife_kimg: 0.1}
schedules: SCHEDULES
"""


class Stacked:
    """A small project, and the commands of a person in it."""

    def __init__(self, root):
        self.root = root

    def write(self, kimg, schedules):
        text = PARAMS.replace("KIMG", str(kimg)).replace("SCHEDULES", schedules)
        (self.root / "params.yaml").write_text(text)

    def atelier(self, *words, check=True):
        # The stack finds its ports and servers by itself.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        environment = {**clean, "OMP_NUM_THREADS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        command = [sys.executable, "-c", "from atelier.cli import main; main()", *words]
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def status(self):
        return json.loads(self.atelier("status", "--json"))

    def flow_runs(self):
        """(name, state, message) of all flow runs, newest first."""
        with closing(sqlite3.connect(self.root / ".prefect" / "prefect.db", timeout=60)) as database:
            return database.execute(
                "select f.name, f.state_type, s.message from flow_run f "
                "left join flow_run_state s on s.id = f.state_id order by f.expected_start_time desc"
            ).fetchall()

    def mlflow_runs(self):
        with closing(sqlite3.connect(self.root / "mlflow.db", timeout=60)) as database:
            return dict(database.execute("select name, status from runs").fetchall())

    def trains(self):
        """Whether the process that holds the project has taken up a training in MLflow."""
        holder = (self.root / ".atelier" / "run.lock").read_text().split(",")[0]
        with closing(sqlite3.connect(self.root / "mlflow.db", timeout=60)) as database:
            return database.execute(
                "select 1 from runs r join tags t on t.run_uuid = r.run_uuid "
                "where r.status = 'RUNNING' and t.key = 'process.pid' and t.value = ?",
                [holder],
            ).fetchone()

    def newest_checkpoint(self):
        files = self.root.glob(".atelier/checkpoints/denoise/*/*")
        return max((path.stat().st_mtime for path in files), default=0.0)

    def pids(self):
        record = json.loads((self.root / ".atelier" / "stack" / "record.json").read_text())
        found = {name: part["process"] and part["process"]["pid"] for name, part in record["parts"].items()}
        return {**found, "supervisor": record["supervisor"]["pid"]}

    def all_up(self):
        record = json.loads((self.root / ".atelier" / "stack" / "record.json").read_text())
        return all(part["state"] == "up" for part in record["parts"].values())

    def processes(self):
        return with_variable("ATELIER_STACK", str(self.root))

    def picture(self, number, level):
        path = self.root / "raw" / "dl"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 128, (16, 16)) + level
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def eventually(found, seconds=120):
    """What a look finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(1)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with pictures; whatever a test leaves running is ended."""
    made = Stacked(new_project(tmp_path_factory.mktemp("stack") / "project"))
    for number in range(200):
        made.picture(number, 127 * (number % 2))
    made.write(1, "{}")
    commit(made.root, "start")
    yield made
    made.atelier("down", check=False)
    for process in made.processes():
        process.kill()


def test_up_is_idempotent_and_a_tick_does_what_is_stale_and_says_why_nothing_is(project):
    project.write(1, "{nightly: {every: 15s}}")
    assert "schedules created: nightly" in project.atelier("up")
    before = project.pids()
    assert "0 changes" in project.atelier("up")
    assert project.pids() == before
    eventually(lambda: any("nothing to do" in (message or "") for _, _, message in project.flow_runs()))
    said = [message for _, state, message in project.flow_runs() if state == "COMPLETED"]
    assert any("photos ingested (not ingested yet); denoise/1 promoted" in message for message in said)
    parts = project.status()["parts"]
    assert {part["part"] for part in parts} == {"supervisor", "prefect", "mlflow", "runner"}
    assert all(part["state"] == "up" for part in parts)


def test_what_is_no_longer_declared_is_deleted_from_the_server(project):
    project.write(1, "{}")
    assert "schedules deleted: nightly" in project.atelier("schedule", "sync")
    assert project.status()["schedules"] == []


def test_a_changed_picture_starts_one_run_and_a_touched_or_renamed_one_none(project):
    project.write(1, "{watch: {every: 15s}}")
    project.atelier("schedule", "sync")
    looked = "nothing to do: the sources of all 1 datasets hold what data/ does"
    eventually(lambda: any(message == looked for _, _, message in project.flow_runs()))
    os.utime(project.root / "raw" / "d" / "0.png")
    (project.root / "raw" / "d" / "2.png").rename(project.root / "raw" / "d" / "two.png")
    count = sum(message == looked for _, _, message in project.flow_runs())
    eventually(lambda: sum(message == looked for _, _, message in project.flow_runs()) >= count + 2)
    acted = [message for _, _, message in project.flow_runs() if message and "photos ingested" in message]
    project.picture(4, 60)
    eventually(lambda: len([m for _, _, m in project.flow_runs() if m and "photos ingested" in m]) > len(acted))
    count = sum(message == looked for _, _, message in project.flow_runs())
    eventually(lambda: sum(message == looked for _, _, message in project.flow_runs()) >= count + 2)
    now = [message for _, _, message in project.flow_runs() if message and "photos ingested" in message]
    assert len(now) == len(acted) + 1


def test_each_part_that_is_killed_comes_back(project):
    for name in ("mlflow", "prefect", "runner", "supervisor"):
        before = project.pids()[name]
        os.kill(before, signal.SIGKILL)
        eventually(lambda name=name, before=before: project.pids()[name] not in (None, before) and project.all_up())


def test_a_killed_training_is_ended_on_both_sides_and_goes_on_in_the_same_run(project):
    project.write(400, "{nightly: {every: 20s}}")
    project.atelier("schedule", "sync")
    lock = project.root / ".atelier" / "run.lock"
    training = eventually(lambda: list(project.root.glob(".atelier/checkpoints/denoise/*/*")) and lock.read_text())
    os.kill(int(training.split(",")[0]), signal.SIGKILL)
    dead = training.split(",")[1].split()[0]
    eventually(lambda: any(name == dead and state == "CRASHED" for name, state, _ in project.flow_runs()))
    runs = project.mlflow_runs()
    eventually(lambda: lock.read_text() not in ("", training))
    assert project.mlflow_runs().keys() == runs.keys()


def test_down_lets_a_training_write_its_checkpoint_and_leaves_no_process(project):
    eventually(project.trains)  # what a killed training held on the server is free after 60 s
    before = project.newest_checkpoint()
    eventually(lambda: project.newest_checkpoint() > before)  # it is past its preparations
    began = time.monotonic()
    project.atelier("down")
    assert time.monotonic() - began < 20
    assert project.processes() == []
    assert "RUNNING" not in project.mlflow_runs().values()
    assert list(project.root.glob(".atelier/checkpoints/denoise/*/*"))
    assert "the stack is down" in project.atelier("status")
    assert "the stack was not up" in project.atelier("down")


def test_a_stack_that_can_not_be_is_refused_in_words(project, tmp_path):
    elsewhere = Stacked(tmp_path)
    assert "no params.yaml here or above" in elsewhere.atelier("up", check=False)
    elsewhere.write(1, '{nightly: {cron: "0 25 * * *"}}')
    assert "hour '25' is outside 0-23" in elsewhere.atelier("up", check=False)
    elsewhere.write(1, "{}")
    assert "has no .dvc folder" in elsewhere.atelier("up", check=False)
    assert elsewhere.processes() == []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = project.atelier("up", "--mlflow-port", str(port), check=False)
    assert f"port {port}, asked for mlflow, is taken" in said
    assert project.processes() == []
