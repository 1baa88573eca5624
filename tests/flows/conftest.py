"""One small project that has been run once, shared by all flow tests.

Real data, Prefect, MLflow, DVC and processes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.places import REPOSITORY
from tests.support.processes import Finished, atelier, clean_environment

SMALL = {
    "fashion-classifier": {"network": {"width": 8}, "training": {"kimg": 8}},
    "fashion-gan": {
        "generator": {"width": 8},
        "discriminator": {"width": 8},
        "training": {"kimg": 1},
    },
    "fashion-denoise": {"network": {"width": 8, "depth": 3}, "training": {"kimg": 6}},
    "fashion-inpaint": {"network": {"width": 4, "iterations": 2}, "training": {"kimg": 1}},
}
UNPAIRED = {  # not in the shipped params.yaml
    "kind": "translation",
    "dataset": "fashion",
    "degradation": [{"noise": {"sigma": 0.2}}],
    "network": {"name": "cnn", "width": 4, "depth": 3},
    "adversarial": {"weight": 1.0, "width": 4, "layers": 1},
    "training": {"kimg": 0.25, "batch_size": 16, "lr": 2e-3},
}


@dataclass(frozen=True)
class SmallProject:
    """A project folder, and the command line in it."""

    root: Path

    def __call__(self, *arguments: str, **environment: str) -> Finished:
        """Run an `atelier` command in the project folder."""
        return atelier(self.root, *arguments, **environment)

    def program(self, name: str, *arguments: str) -> Finished:
        """Run a program of this environment (atelier, dvc, ...) as a person does, from its
        start."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name(name)), *arguments],
            cwd=self.root,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=500,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout


def new_project(root: Path, change: Callable[[dict], None]) -> SmallProject:
    """A git repository with the shipped params.yaml, after `change`, and the shipped DVC
    configuration."""
    (root / ".dvc").mkdir(parents=True)
    shutil.copy(REPOSITORY / ".dvc" / "config", root / ".dvc")
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, root)
    yaml = YAML()
    params = yaml.load(REPOSITORY / "params.yaml")
    change(params)
    yaml.dump(params, root / "params.yaml")
    project = SmallProject(root)
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "small project"]):
        project.git("-c", "user.name=test", "-c", "user.email=test@example.org", *arguments)
    return project


@pytest.fixture(scope="session")
def finished_project(
    tmp_path_factory: pytest.TempPathFactory, fashion_source: Path
) -> SmallProject:
    """A project whose five models have been trained, judged and, the floors being low, promoted."""

    def shrink(params: dict) -> None:
        params["datasets"]["fashion"]["path"] = str(fashion_source)
        for name, sections in SMALL.items():
            for section, values in sections.items():
                params["models"][name][section].update(values)
        params["models"]["fashion-unpaired"] = UNPAIRED
        params["evaluation"].update(num_images=300, cas_kimg=1)
        for kind in ("classification", "gan", "restoration"):
            params["promotion"][kind]["floors"] = {}

    project = new_project(tmp_path_factory.mktemp("studio") / "project", shrink)
    first = project.program(
        "atelier", "run"
    )  # the embedded API, and all that an installed script does
    assert first.returncode == 0, first.stdout + first.stderr
    project.git("add", "-A")
    project.git(
        "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "data"
    )
    return project
