"""Real processes that need not import torch, MLflow and the like again: forked from one that has.

Commands, trainings and victims of kills are processes of their own here, with their own
environment, working directory, exit code and signals. What they don't pay is the start of Python
and the imports of other people's packages: four seconds of CPU time each. Atelier itself is
imported afresh by each.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = [
    "torch",
    "torch._inductor",
    "dvc.repo",
    "dvc_data.index",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "alembic.command",
    "sqlalchemy.dialects.sqlite",
    "pandas",
    "scipy.stats",
    "torchmetrics",
    "safetensors.torch",
    "ruamel.yaml",
    "typer",
    "rich.table",
    "PIL.Image",
    "pytest",
]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(PACKAGES)


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what points Prefect, MLflow or DVC somewhere."""
    prefixes = ("PREFECT_", "MLFLOW_", "DVC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**kept, **variables}


@dataclass(frozen=True)
class Started:
    """A function or command at work in a process of its own."""

    process: Any
    scratch: Path

    def wait(self, timeout: float = 300) -> Finished:
        """Wait for its end; what takes longer is killed."""
        self.process.join(timeout)
        output, errors = ((self.scratch / name).read_text() for name in ("output", "errors"))
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(errors)
        return Finished(self.process.exitcode, output, errors)


@contextmanager
def started(
    action: Callable[..., None],
    *arguments: Any,
    folder: Path,
    environment: dict[str, str] | None = None,
) -> Iterator[Started]:
    """A process, leader of a group of its own, that calls `action` in a folder and an
    environment."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for file in ("output", "errors"):
            (scratch / file).touch()
        variables = clean_environment() if environment is None else environment
        words = (scratch, folder, variables, action, arguments)
        process = PROCESSES.Process(target=_enter, args=words, daemon=True)
        process.start()
        yield Started(process, scratch)


def run(
    action: Callable[..., None],
    *arguments: Any,
    folder: Path,
    environment: dict[str, str] | None = None,
) -> Finished:
    """Call `action` in a process of its own, and wait for its end."""
    with started(action, *arguments, folder=folder, environment=environment) as process:
        return process.wait()


def atelier(folder: Path, *words: str, **variables: str) -> Finished:
    """Run an `atelier` command in a folder."""
    return run(command, *words, folder=folder, environment=clean_environment(**variables))


def command(*words: str) -> None:
    """What the `atelier` script does."""
    sys.argv = ["atelier", *words]
    from atelier.cli import main

    main()


def _enter(
    scratch: Path,
    folder: Path,
    environment: dict[str, str],
    action: Callable[..., None],
    arguments: Any,
) -> None:
    os.setpgrp()
    for descriptor, file in ((1, "output"), (2, "errors")):
        opened = os.open(scratch / file, os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # This Python has long started: without this line PYTHONPATH would have come too late.
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    action(*arguments)
