"""Make a registered version again, from its commit, data and parameters, and compare what comes out bit by bit.

The training runs in a process of its own, with the code of a worktree and an MLflow database of its own, which borrows
copies of the versions that it needs: neither the project nor its registry is changed but for the report.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atelier.data.versions.recovery import put_version
from atelier.errors import ProvenanceError
from atelier.factory.fingerprint import differences
from atelier.factory.provenance import installed_packages
from atelier.machine.places import database_url
from atelier.registry import CHAMPION, Registry, Version
from atelier.registry.lending import lend
from atelier.review.lineage import Trace, trace
from atelier.review.worktree import Worktree, checked_out

log = logging.getLogger("atelier")
IDENTICAL, DIFFERENT = "bit-identical", "different"
REPORT = "reproduction.json"
PACKAGE = Path(__file__).parent


def reproduce(registry: Registry, version: Version) -> dict[str, Any]:
    """Train a version again, compare weights and, if they differ, scores; the report stays with the version.

    Returns:
        What was found, as plain JSON types; `verdict` is IDENTICAL or DIFFERENT.

    Raises:
        ProvenanceError: if something that it was made of is lost, changed, or doesn't work any more.
        DataError: if the data are not what they were.
    """
    found = trace(registry, version)
    found.require("run", "code", "params", "environment", "data", "source")
    root, tags = registry.project.root, version.tags
    with checked_out(root, tags["git.commit"], found.diff) as worktree:
        log.info("%s  commit %s is checked out", version, tags["git.commit"][:10])
        put_version(root, tags["data.md5"], worktree.project)
        log.info("%s  data %s are restored", version, tags["data.md5"][:10])
        again = _Again(registry, found, worktree)
        trained = again.train()
        weights = compare_weights(
            registry.fetch_bundle(version, worktree.scratch / "stored"), again.bundle
        )
        report: dict[str, Any] = {
            "version": str(version),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "verdict": IDENTICAL if weights["identical"] else DIFFERENT,
            "weights": weights,
            "inputs_differ": differences(found.inputs, trained["inputs"]),
            "packages_differ": package_differences(found.packages, installed_packages()),
            "commit": tags["git.commit"],
            "uncommitted_lines": len(found.diff.splitlines()),
            "data_md5": tags["data.md5"],
            "code": "of the commit" if again.own_code else f"of the installed package, {PACKAGE}",
            "settings": again.settings,
            "scores": {} if weights["identical"] else again.compare_scores(trained["number"]),
            "notes": _notes(found),
        }
    registry.runs.log_files(version.run_id, "", {REPORT: json.dumps(report, indent=2)})
    registry.tag(version, {"reproduced": report["verdict"], "reproduced.at": report["at"]})
    return report


class _Again:
    """The training in its worktree.

    Attributes:
        bundle: folder that holds the new weights after `train`.
        own_code: whether the worktree holds the code of Atelier itself; else it is the installed one's.
        settings: device and number of threads, as they were.
    """

    def __init__(self, registry: Registry, found: Trace, worktree: Worktree) -> None:
        assert found.run is not None  # required by `reproduce`
        self._registry, self._found, self._worktree = registry, found, worktree
        self._uri = database_url(worktree.scratch / "mlflow.db")
        self.bundle = worktree.scratch / "again"
        self.own_code = (worktree.top / "src" / "atelier" / "__init__.py").is_file()
        recorded = found.run.params
        threads = int(recorded["threads"]) * int(
            recorded["processes"]
        )  # params.yaml counts those of all processes
        self.settings = {"device": recorded["device"], "threads": threads}

    def train(self) -> dict[str, Any]:
        """Train; returns the number of the version in the registry of its own, and its inputs."""
        if source := self._found.version.tags.get("built.from"):
            self._lend(self._registry.resolve(source))
        return self._run(None)

    def compare_scores(self, number: int) -> dict[str, Any]:
        """Score the stored version and version `number` by the same code on the same data."""
        stored = self._found.version
        if any(link == "evaluation" for link, _ in self._found.missing):
            return {}
        inputs = self._registry.runs.read_json(stored.run_id, "evaluation/fingerprint.json")
        if inputs is None:
            return {}
        for key in ("extractor", "compared"):
            if reference := inputs.get(key):
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
        name = self._found.version.model
        task = {
            "project": str(self._worktree.project),
            "params": self._params(),
            "model": name,
            "reason": f"reproduction of {self._found.version}",
            "bundle": str(self.bundle),
            "numbers": numbers,
        }
        file = self._worktree.scratch / ("train.json" if numbers is None else "score.json")
        file.write_text(json.dumps(task), encoding="utf-8")
        # -P: the folder of the script is not searched for modules. Its output is for people, so not on our stdout.
        command = [sys.executable, "-P", str(PACKAGE / "retrain.py"), str(file)]
        done = subprocess.run(
            command, cwd=self._worktree.project, env=self._environment(), stdout=sys.stderr
        )
        answered = file.with_suffix(".answer")
        answer: dict[str, Any] = (
            json.loads(answered.read_text(encoding="utf-8")) if answered.is_file() else {}
        )
        if done.returncode or "error" in answer:
            reason = answer.get(
                "error", f"its process ended with code {done.returncode}, see above"
            )
            raise ProvenanceError(f"{self._found.version} can't be made again: {reason}")
        return answer

    def _environment(self) -> dict[str, str]:
        code = (
            [self._worktree.top / "src", self._worktree.top] if self.own_code else [PACKAGE.parent]
        )
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MLFLOW_", "PREFECT_"))
        }
        paths = [*map(str, code), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**inherited, "PYTHONPATH": os.pathsep.join(paths), "MLFLOW_TRACKING_URI": self._uri}

    def _params(self) -> dict[str, Any]:
        """The stored parameters; only device, threads and source are named as what they were then."""
        params: dict[str, Any] = {**copy.deepcopy(self._found.params), **self.settings}
        if source := self._found.version.tags.get("built.from"):
            model = params["models"][self._found.version.model]
            if model["kind"] == "gan":
                model["refine"] = source
            else:
                model["data"]["extend"]["gan"] = source
        return params


def _notes(found: Trace) -> list[str]:
    notes = []
    tags = found.version.tags
    if left_out := tags.get("git.left_out"):
        notes.append(f"The tree was not clean, and these were not stored: {left_out}.")
    elif tags["git.dirty"] == "true" and "git.left_out" not in tags:  # by an Atelier before 0.4
        notes.append(
            "The tree was not clean. Changed files are restored, but not those that git did not know."
        )
    training = found.params["models"][found.version.model]["training"]
    if "minutes" in training:
        notes.append(
            "Its budget was in minutes, which another day become another number of images."
        )
    return notes


def compare_weights(stored: Path, again: Path) -> dict[str, Any]:
    """Two bundles, tensor by tensor.

    Args:
        stored: folder with safetensors files.
        again: the same, of the other one.

    Returns:
        `identical` (all files, names, shapes, types and bits), `tensors`, `differing` (their names), and
        `max_abs_difference` of the values that can be compared.
    """
    from safetensors.torch import load_file

    names = sorted(
        {path.name for folder in (stored, again) for path in folder.glob("*.safetensors")}
    )
    sides = [
        {
            f"{name}: {key}": value
            for name in names
            if (folder / name).is_file()
            for key, value in load_file(folder / name).items()
        }
        for folder in (stored, again)
    ]
    differing, largest = [], 0.0
    for key in sorted(sides[0].keys() | sides[1].keys()):
        before, after = (side.get(key) for side in sides)
        if (
            before is None
            or after is None
            or before.shape != after.shape
            or before.dtype != after.dtype
        ):
            differing.append(f"{key} (in one of them only, or of another shape or type)")
        elif _bits(before) != _bits(after):
            differing.append(key)
            largest = max(largest, float((before.double() - after.double()).abs().max()))
    return {
        "identical": bool(names) and not differing,
        "tensors": len(sides[0]),
        "differing": differing,
        "max_abs_difference": largest,
    }


def _bits(tensor: Any) -> bytes:
    """Compared instead of the values, of which -0 equals 0, and a NaN not even itself."""
    import torch

    content: bytes = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()  # numpy has no bfloat16
    return content


def package_differences(before: str, after: str) -> dict[str, list[str | None]]:
    """Packages of two requirements files that are not the same: {name: [version before, version after]}."""
    old, new = (dict(line.split("==", 1) for line in text.splitlines()) for text in (before, after))
    names = sorted(old.keys() | new.keys(), key=str.lower)
    return {
        name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)
    }
