"""Trains or scores for `atelier reproduce`, in its own process: `python -P retrain.py TASK.json`.

This file is run by its path, so that every `atelier` that it imports is the code of the worktree,
which may be older than this file: it uses of it only the stages, the parameters and the registry.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from atelier.errors import AtelierError
from atelier.params import Params
from atelier.project import Project, set_environment
from atelier.registry import Registry

try:
    from atelier.factory import Factory
    from atelier.factory.evaluate import evaluate
    from atelier.factory.train import train
except ImportError:  # a commit from before the factory had a room
    from atelier import stages

    Factory = None  # type: ignore[assignment,misc]


def main(file: Path) -> None:
    """Do what `file` asks for, and write the answer, or the error, beside it."""
    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("atelier").setLevel(logging.INFO)
    task = json.loads(file.read_text(encoding="utf-8"))
    try:
        answer = _train(task) if task["numbers"] is None else _score(task)
    except AtelierError as error:
        answer = {"error": str(error)}
    file.with_suffix(".answer").write_text(json.dumps(answer), encoding="utf-8")


def _open(task: dict[str, Any]) -> tuple[Project, Params, str]:
    project = Project(Path(task["project"]))
    set_environment(project)
    return project, Params.model_validate_json(json.dumps(task["params"])), task["model"]


def _train(task: dict[str, Any]) -> dict[str, Any]:
    """Train and register, and copy the bundle to where the parent looks for it."""
    project, params, name = _open(task)
    if Factory is None:
        number = stages.train(project, params, name, task["reason"])
    else:
        number = train(Factory.open(project, params), name, task["reason"])
    registry = Registry(project)
    version = registry.version(name, number)
    registry.fetch_bundle(version, Path(task["bundle"]))
    return {"number": number, "inputs": registry.runs.read_json(version.run_id, "fingerprint.json")}


def _score(task: dict[str, Any]) -> dict[str, Any]:
    """Evaluate versions by the same code on the same data."""
    project, params, name = _open(task)
    scores = []
    for number in task["numbers"]:
        if Factory is None:
            scores.append(stages.evaluate(project, params, name, number))
        else:
            scores.append(evaluate(Factory.open(project, params), name, number))
    return {"scores": scores}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
