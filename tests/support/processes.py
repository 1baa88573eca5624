"""Real processes that need not import torch, MLflow and Prefect's libraries again: forked from one that has.

Commands, trainings and victims of kills are processes of their own here, with their own environment, working
directory, exit code and signals. What they don't pay is the start of Python and the imports of other people's
packages: four seconds of CPU time each. Atelier itself is imported afresh by every one of them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PACKAGES = [
    "torch",
    "torch._inductor",
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
    "dvc.repo",
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
    """This process's environment without what points Prefect, MLflow or DVC somewhere, and with these variables."""
    prefixes = ("PREFECT_", "MLFLOW_", "DVC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**kept, **variables}


def atelier(folder: Path, *words: str, timeout: float = 300, **variables: str) -> Finished:
    """Run an `atelier` command in a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        output, errors = Path(scratch, "output"), Path(scratch, "errors")
        environment = clean_environment(**variables)
        process = PROCESSES.Process(target=_command, args=(words, folder, environment, output, errors))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"atelier {' '.join(words)}: {errors.read_text()}")
        return Finished(process.exitcode, output.read_text(), errors.read_text())


def enter(folder: Path, environment: dict[str, str], output: Path, errors: Path) -> None:
    """Make this process one that was started in a folder with an environment, and writes into two files."""
    for descriptor, file in ((1, output), (2, errors)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


def _command(words: tuple[str, ...], folder: Path, environment: dict[str, str], output: Path, errors: Path) -> None:
    enter(folder, environment, output, errors)
    sys.argv = ["atelier", *words]
    from atelier.cli import main

    main()
