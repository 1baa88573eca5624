"""The training of a version once more, in a worktree and with a registry of its own."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atelier.errors import ProvenanceError
from atelier.machine.places import database_url
from atelier.registry import CHAMPION, Registry, Version
from atelier.registry.lending import lend
from atelier.review.trace import Trace
from atelier.review.worktree import Worktree

SCRIPT = Path(__file__).parent / "retrain.py"
PACKAGE = Path(__file__).parents[1]  # of Atelier, as it is installed


class Retraining:
    """The training in its worktree.

    Attributes:
        bundle: folder that holds the new weights after `train`.
        own_code: whether the worktree holds the code of Atelier itself; else it is the installed
            one's.
        settings: device and number of threads, as they were.
    """

    def __init__(self, registry: Registry, trail: Trace, worktree: Worktree) -> None:
        assert trail.run is not None  # required by `reproduce`
        self._registry = registry
        self._trail = trail
        self._version = trail.version
        self._worktree = worktree
        self._uri = database_url(worktree.scratch / "mlflow.db")
        self.bundle = worktree.scratch / "again"
        self.own_code = (worktree.top / "src" / "atelier" / "__init__.py").is_file()
        recorded = trail.run.params
        # params.yaml counts the threads of all processes.
        threads = int(recorded["threads"]) * int(recorded["processes"])
        self.settings = {"device": recorded["device"], "threads": threads}

    def train(self) -> dict[str, Any]:
        """Train; returns the number of the version in the registry of its own, and its inputs."""
        source = self._version.tags.get("built.from")
        if source:
            self._lend(self._registry.resolve(source))
        return self._run(None)

    def compare_scores(self, number: int) -> dict[str, Any]:
        """Score the stored version and version `number` by the same code on the same data."""
        stored = self._version
        if any(link == "evaluation" for link, _ in self._trail.missing):
            return {}
        inputs = self._registry.runs.read_json(stored.run_id, "evaluation/fingerprint.json")
        if inputs is None:
            return {}
        for key in ("extractor", "compared"):
            reference = inputs.get(key)
            if reference:
                self._lend(self._registry.resolve(reference), [CHAMPION])
        before, after = self._run([self._lend(stored), number])["scores"]
        return {
            metric: {
                "stored": before[metric],
                "again": after[metric],
                "difference": after[metric] - before[metric],
            }
            for metric in before
            if metric in after
        }

    def _lend(self, version: Version, aliases: Sequence[str] = ()) -> int:
        return lend(self._registry, version, self._uri, self._worktree.scratch / "lent", aliases)

    def _run(self, numbers: list[int] | None) -> dict[str, Any]:
        """Train, or score the versions of these numbers, in a fresh process.

        Raises:
            ProvenanceError: if it fails.
        """
        task = {
            "project": str(self._worktree.project),
            "params": self._params(),
            "model": self._version.model,
            "reason": f"reproduction of {self._version}",
            "bundle": str(self.bundle),
            "numbers": numbers,
        }
        name = "train.json" if numbers is None else "score.json"
        file = self._worktree.scratch / name
        file.write_text(json.dumps(task), encoding="utf-8")
        # -P: the folder of the script is not searched for modules.
        command = [sys.executable, "-P", str(SCRIPT), str(file)]
        # Its output is for people, so not on our stdout.
        done = subprocess.run(
            command, cwd=self._worktree.project, env=self._environment(), stdout=sys.stderr
        )
        answer: dict[str, Any] = {}
        answer_file = file.with_suffix(".answer")
        if answer_file.is_file():
            answer = json.loads(answer_file.read_text(encoding="utf-8"))
        if done.returncode or "error" in answer:
            ending = f"its process ended with code {done.returncode}, see above"
            reason = answer.get("error", ending)
            raise ProvenanceError(f"{self._version} can't be made again: {reason}")
        return answer

    def _environment(self) -> dict[str, str]:
        """Of the new process: with the right code, and none of our own services."""
        if self.own_code:
            paths = [str(self._worktree.top / "src"), str(self._worktree.top)]
        else:
            paths = [str(PACKAGE.parent)]
        inherited_path = os.environ.get("PYTHONPATH")
        if inherited_path:
            paths.append(inherited_path)
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MLFLOW_", "PREFECT_"))
        }
        return {**inherited, "PYTHONPATH": os.pathsep.join(paths), "MLFLOW_TRACKING_URI": self._uri}

    def _params(self) -> dict[str, Any]:
        """The stored parameters; only device, threads and source are named as they were then."""
        params: dict[str, Any] = {**copy.deepcopy(self._trail.params), **self.settings}
        source = self._version.tags.get("built.from")
        if source:
            model = params["models"][self._version.model]
            if model["kind"] == "gan":
                model["refine"] = source
            else:
                model["data"]["extend"]["gan"] = source
        return params
