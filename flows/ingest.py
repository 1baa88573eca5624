"""Flow `ingest`: bring the datasets to what their sources hold, and version them."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from atelier.data.ingest import stages
from atelier.data.ingest.notes import Findings
from atelier.data.ingest.state import dataset_state
from atelier.data.versions import dvc
from atelier.errors import RemoteError
from atelier.factory.describe import describe
from atelier.params import load_params
from atelier.project import Project, find_project
from atelier.ui.fleet import Fleet
from flows.work import at_work

log = logging.getLogger("atelier")
SHOWN_ROWS = 1000  # of a quarantine table in Prefect; the file has all


def _may_pass(task: Any, task_run: Any, state: State[Any]) -> bool:
    """Whether trying again may help: a network may come back, a broken file won't mend itself."""
    return isinstance(state.data, RemoteError)


@task(
    name="restore-data",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_may_pass,
)
def restore_data(project: Project) -> bool:
    """In a fresh clone, fetch the data that data.dvc names from the remote, if it is there."""
    return dvc.restore_if_missing(project.root)


@task(
    name="read",
    task_run_name="read {name}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_may_pass,
)
def read_pictures(
    project: Project, params_file: Path, overrides: list[str], name: str
) -> Path | None:
    """Decode what the sources hold into a working folder, unless data/ has it already."""
    dataset = load_params(params_file, overrides).datasets[name]
    if dataset_state(project.root, name, dataset)[0] == "fresh":
        return None
    return stages.read(project.root, name, dataset)


@task(name="validate", task_run_name="validate {name}", cache_policy=NO_CACHE)
def validate_pictures(
    project: Project, params_file: Path, overrides: list[str], name: str, folder: Path
) -> Findings:
    """Find duplicates, contradictions and oddities; too much of them stops the run here.

    That is before any training.
    """
    dataset = load_params(params_file, overrides).datasets[name]
    try:
        findings = stages.validate(project.root, name, dataset, folder)
    finally:
        rows = stages.quarantine_rows(project.root, name, folder)[:SHOWN_ROWS]
        create_table_artifact(
            key=f"quarantine-{name}", table=rows, description=f"What {name} does not use, and why"
        )
    create_markdown_artifact(key=f"validation-{name}", markdown=findings.page())
    return findings


@task(name="store", task_run_name="store {name}", cache_policy=NO_CACHE)
def store_pictures(
    project: Project,
    params_file: Path,
    overrides: list[str],
    name: str,
    folder: Path,
    findings: Findings,
) -> None:
    """Write the accepted pictures as data/<name>."""
    stages.store(
        project.root, name, load_params(params_file, overrides).datasets[name], folder, findings
    )


@task(
    name="version-data",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_may_pass,
)
def version_data(project: Project) -> str:
    """Record data/ in data.dvc and push it.

    So no model is ever trained on data that only exist here.
    """
    before = dvc.data_md5(project.root)
    md5 = dvc.track(project.root)
    dvc.push(project.root)
    if md5 != before:
        log.info(
            "data.dvc names a new version of data/: commit it to git, "
            "with params.yaml and .dvcignore"
        )
    return md5


@task(name="describe", task_run_name="describe {name}", cache_policy=NO_CACHE)
def describe_dataset(project: Project, name: str) -> None:
    """Leave a picture of the dataset's version in MLflow and Prefect, once."""
    sheets = describe(project, name, str(flow_run.id))
    if sheets:
        pictures = [
            f"## {title}\n\n![{title}]({_data_address(png)})\n" for title, png in sheets.items()
        ]
        create_markdown_artifact(key=f"data-{name}", markdown=f"# {name}\n\n" + "\n".join(pictures))


def _data_address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def ingest_dataset(project: Project, params_file: Path, overrides: list[str], name: str) -> None:
    """The three stages of one dataset; nothing where it is fresh."""
    folder = read_pictures(project, params_file, overrides, name)
    if folder is not None:
        findings = validate_pictures(project, params_file, overrides, name, folder)
        store_pictures(project, params_file, overrides, name, folder, findings)


def ingest_datasets(
    project: Project,
    params_file: Path,
    overrides: list[str],
    names: list[str],
    fleet: Fleet | None = None,
) -> str:
    """Bring datasets up to date, version and describe them; returns the md5 that data.dvc names."""
    fleet = fleet or Fleet()
    restore_data(project)
    for name in names:
        with fleet.at(name, "ingest"):
            ingest_dataset(project, params_file, overrides, name)
    md5 = version_data(project)
    for name in names:
        describe_dataset(project, name)
    return md5


@flow(name="ingest")
def ingest_all(params_file: Path, overrides: list[str] | None = None) -> str:
    """Ingest every dataset of params.yaml; returns the md5 that data.dvc names."""
    project = find_project(params_file.parent)
    params = load_params(params_file, overrides or [])
    with at_work(project):
        return ingest_datasets(project, params_file, overrides or [], list(params.datasets))
