"""A small project with a stack, and the commands that a person gives in it."""

import json
import math
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import numpy as np
from PIL import Image

from atelier.machine.processes import with_variable
from tests.support.dvc_projects import commit, new_project

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
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "MLFLOW_"))
        }
        environment = {**clean, "OMP_NUM_THREADS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        command = [sys.executable, "-c", "from atelier.cli import main; main()", *words]
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def status(self):
        return json.loads(self.atelier("status", "--json"))

    def trigger(self, schedule, **parameters):
        """Begin a run of a schedule's deployment now, as Prefect's page does; returns its name."""
        api = json.loads((self.root / ".atelier" / "stack" / "record.json").read_text())["parts"][
            "prefect"
        ]["address"]
        flow = "watch" if schedule == "watch" else "tick"
        with urllib.request.urlopen(f"{api}/deployments/name/{flow}/atelier.{schedule}") as answer:
            deployment = json.load(answer)["id"]
        given = json.dumps({"parameters": parameters, "state": {"type": "SCHEDULED"}}).encode()
        request = urllib.request.Request(f"{api}/deployments/{deployment}/create_flow_run", given)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["name"]

    def flow_run(self, name):
        """(state, message) of one flow run."""
        return next((state, message) for found, state, message in self.flow_runs() if found == name)

    def flow_runs(self, until=math.inf):
        """(name, state, message) of the flow runs that were due until a time, newest first."""
        with closing(
            sqlite3.connect(self.root / ".prefect" / "prefect.db", timeout=60)
        ) as database:
            return database.execute(
                "select f.name, f.state_type, s.message from flow_run f "
                "left join flow_run_state s on s.id = f.state_id "
                "where unixepoch(f.expected_start_time) <= ? order by f.expected_start_time desc",
                [until],
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
        found = {
            name: part["process"] and part["process"]["pid"]
            for name, part in record["parts"].items()
        }
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


def eventually(found, seconds=300):
    """What a look finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(1)
    raise AssertionError(f"not within {seconds} s")


def new_stacked(folder, kimg=1):
    """A project with 200 pictures and one model, committed, in a folder of its own."""
    made = Stacked(new_project(folder / "project"))
    for number in range(200):
        made.picture(number, 127 * (number % 2))
    made.write(kimg, "{}")
    commit(made.root, "start")
    return made
