"""Flow `train`: one model, from data to a registered version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from atelier.factory import Factory
from atelier.factory.train import check_data
from atelier.factory.train import train as train_version
from atelier.params import load_params
from atelier.project import Project, find_project
from atelier.promotion import require_decidable
from flows.lease import accelerator
from flows.work import at_work


@task(
    name="train", task_run_name="train {name}", cache_policy=NO_CACHE
)  # never retried blindly: a rerun resumes
def train_model(project: Project, params_file: Path, overrides: list[str], name: str) -> int:
    """Train and register a model unless its version is fresh; returns the version number."""
    factory = Factory.open(project, load_params(params_file, overrides))
    check_data(factory, name)

    @contextmanager
    def training() -> Iterator[None]:
        require_decidable(factory.registry, name)
        with accelerator():
            yield

    return train_version(factory, name, str(flow_run.id), holding=training)


@flow(name="train")
def train(params_file: Path, name: str, overrides: list[str] | None = None) -> int:
    """Train one model of params.yaml on the data as they are."""
    project = find_project(params_file.parent)
    with at_work(project):
        return train_model(project, params_file, overrides or [], name)
