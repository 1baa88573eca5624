"""`atelier report` on a registry of 500 runs.

Seconds of the whole command, and what its parts take.

    OMP_NUM_THREADS=1 python benchmarks/report_speed.py    # four minutes, most of them to make the
    runs

The runs are what trainings leave: parameters, scores with intervals, cost, a picture; nine of ten
became versions and were judged, the others failed. They lie in an MLflow database (SQLite) of their
own in a temporary folder.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atelier.params import Params, load_params
from atelier.project import Project, find_project, set_environment
from atelier.registry import CHAMPION, START, Action, Decision, Registry, sign_now
from atelier.registry.ledger import HEAD
from atelier.registry.versions import OURS
from atelier.review.report import gather, render_report
from atelier.review.report.thumbnails import MAIN
from benchmarks.machine import described

SEED = 7
SCORES = 16  # of each run, and three metrics each
FAILURE = 10  # one of so many fails
REASON = "failed: the loss is not finite at 4,096 images, and was not after three rollbacks"


def make_history(registry: Registry, params: Params, num_runs: int) -> None:
    """Fill an empty registry with runs, versions and decisions of all models, in turn."""
    rng = np.random.default_rng(SEED)
    names = list(params.models)
    made = {name: _Maker(registry, params, name, rng) for name in names}
    for index in range(num_runs):
        made[names[index % len(names)]].add(fails=index % FAILURE == FAILURE - 1)
    for maker in made.values():
        maker.close()


class _Maker:
    """Adds to one model what a training and its judgement would."""

    def __init__(
        self, registry: Registry, params: Params, name: str, rng: np.random.Generator
    ) -> None:
        self._registry, self._client, self._name, self._rng = registry, registry._client, name, rng
        kind = params.models[name].kind
        self._metric, self._picture = getattr(params.promotion, kind).metric, MAIN[kind]
        self._settings = {"kind": kind} | {
            f"training.setting_{number}": str(number) for number in range(28)
        }
        self._experiment = registry.runs.experiment(name)
        self._client.create_registered_model(name, tags=OURS)
        self._number, self._champion, self._best, self._sequence, self._head = (
            0,
            0,
            -np.inf,
            0,
            START,
        )

    def add(self, fails: bool) -> None:
        """One run, and the version that it became."""
        tags = {
            "kind": "training",
            "fingerprint": self._rng.bytes(32).hex(),
            "prefect.flow_run_id": "a-flow-run",
        }
        run_id = self._client.create_run(self._experiment, tags=tags).info.run_id
        value = float(20 + self._number * 0.02 + self._rng.normal(0, 0.3))
        self._registry.runs.log_params(run_id, self._settings)
        log = self._registry.run_log(run_id)
        log.metrics(
            0,
            {"minutes": 12.5, "images_per_second": 731.0, "loss": 0.1} | dict(self._scores(value)),
        )
        log.flush()
        if fails:
            self._registry.runs.note(run_id, REASON)
            self._registry.runs.end(run_id, "FAILED")
            return
        self._log_picture(run_id)
        self._client.create_model_version(self._name, f"runs:/{run_id}/model", run_id, tags=tags)
        self._registry.runs.end(run_id, "FINISHED")
        self._number += 1
        self._judge(value)

    def _scores(self, value: float) -> Iterator[tuple[str, float]]:
        for name in (self._metric, *(f"metric_{number}" for number in range(SCORES - 1))):
            for suffix, offset in (("", 0.0), (".low", -0.1), (".high", 0.1)):
                yield f"test/{name}{suffix}", value + offset

    def _log_picture(self, run_id: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self._picture
            pixels_HW = (
                self._rng.integers(0, 256, (29, 73), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            )
            path.write_bytes(_png(pixels_HW))
            self._client.log_artifact(run_id, str(path), "evaluation")

    def _judge(self, value: float) -> None:
        """A decision in the ledger; what is better than all before becomes champion."""
        is_better = value > self._best
        before = self._champion or None
        if is_better:
            self._best = value
            self._champion = self._number
        decision = Decision(
            model=self._name,
            action=Action.PROMOTED if is_better else Action.KEPT,
            version=self._number,
            reasons=("proven better" if is_better else "not proven better than the champion",),
            champion_before=before,
            champion=self._champion,
            previous=None,
            challenger=None,
            **sign_now(),
        )
        self._sequence += 1
        # Without the second look of `append`, which reads the whole chain: nobody else writes here.
        entry = self._registry.ledger._write(decision, self._sequence, self._head)
        self._registry.ledger.close(entry)
        self._head = entry.hash

    def close(self) -> None:
        """What is only true of the newest version and entry."""
        self._client.set_registered_model_tag(self._name, HEAD, self._head)
        self._registry.set_alias(self._name, CHAMPION, self._champion)


def _png(pixels_HW: np.ndarray[Any, Any]) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels_HW).save(target, "PNG")
    return target.getvalue()


def main() -> None:
    """Print seconds of the command and of its parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(described(SEED))
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        shutil.copy(find_project(Path(__file__)).params_file, project.params_file)
        set_environment(project)
        began = time.perf_counter()
        registry, params = Registry(project), load_params(project.params_file)
        make_history(registry, params, arguments.runs)
        print(f"made {arguments.runs} runs in {time.perf_counter() - began:.0f} s")
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            history = gather(registry, params)
            read = time.perf_counter()
            page = render_report(history, sign_now()["at"])
            done = time.perf_counter()
            print(
                f"reads {read - began:.2f} s, draws {done - read:.2f} s: {len(page) / 1e6:.2f} MB",
                end="; ",
            )
            began = time.perf_counter()
            command = [sys.executable, "-m", "atelier.cli", "report"]
            subprocess.run(
                command, cwd=folder, env=dict(os.environ), check=True, stdout=subprocess.DEVNULL
            )
            print(f"the whole command {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
