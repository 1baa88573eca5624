"""Flow `ingest`: bring the datasets to what their sources hold, and version them."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from atelier.data import versions
from atelier.data.ingest import dataset_state, ingest
from atelier.params import load_params
from atelier.project import Project, exclusive, find_project


@task(name="restore-data", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def restore_data(project: Project) -> bool:
    """In a fresh clone, fetch the data that data.dvc names from the remote, if it is there."""
    return versions.restore_if_missing(project.root)


@task(name="ingest", task_run_name="ingest {name}", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def ingest_dataset(project: Project, params_file: Path, overrides: list[str], name: str) -> None:
    """Store what a source holds unless data/ has it already; retried, since a source may lie across a network."""
    dataset = load_params(params_file, overrides).datasets[name]
    if dataset_state(project.root, name, dataset)[0] == "fresh":
        return
    ingest(project.root, name, dataset)


@task(name="version-data", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def version_data(project: Project) -> str:
    """Record data/ in data.dvc and push it, so that no model is ever trained on data that only exist here."""
    md5 = versions.track(project.root)
    versions.push(project.root)
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
