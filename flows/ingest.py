"""Flow `ingest`: bring the datasets to what their sources hold, and version them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from atelier.data import versions
from atelier.data.ingest import dataset_state, ingest
from atelier.errors import RemoteError
from atelier.params import load_params
from atelier.project import Project, exclusive, find_project

log = logging.getLogger("atelier")


def _may_pass(task: Any, task_run: Any, state: State[Any]) -> bool:
    """Whether trying again may help: a network may come back, a broken file won't mend itself."""
    return isinstance(state.data, RemoteError)


@task(name="restore-data", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def restore_data(project: Project) -> bool:
    """In a fresh clone, fetch the data that data.dvc names from the remote, if it is there."""
    return versions.restore_if_missing(project.root)


@task(
    name="ingest",
    task_run_name="ingest {name}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_may_pass,
)
def ingest_dataset(project: Project, params_file: Path, overrides: list[str], name: str) -> None:
    """Store what a source holds unless data/ has it already."""
    dataset = load_params(params_file, overrides).datasets[name]
    if dataset_state(project.root, name, dataset)[0] == "fresh":
        return
    ingest(project.root, name, dataset)


@task(name="version-data", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=_may_pass)
def version_data(project: Project) -> str:
    """Record data/ in data.dvc and push it, so that no model is ever trained on data that only exist here."""
    before = versions.data_md5(project.root)
    md5 = versions.track(project.root)
    versions.push(project.root)
    if md5 != before:
        log.info("data.dvc names a new version of data/: commit it to git with params.yaml")
    return md5


@flow(name="ingest")
def ingest_all(params_file: Path, overrides: list[str] | None = None) -> str:
    """Ingest every dataset of params.yaml; returns the md5 that data.dvc names."""
    project = find_project(params_file.parent)
    params = load_params(params_file, overrides or [])
    with exclusive(project):
        restore_data(project)
        for name in params.datasets:
            ingest_dataset(project, params_file, overrides or [], name)
        return version_data(project)
