"""Flow `reconcile`, the main one: bring the registry to the state that params.yaml describes."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from atelier.errors import AtelierError, TrainingError
from atelier.fingerprint import datasets_of
from atelier.params import load_params
from atelier.plan import selected_models
from atelier.project import Project, exclusive, find_project
from flows.evaluate import evaluate_version
from flows.ingest import ingest_datasets
from flows.promote import inspect_version, judge_version
from flows.train import train_model


@flow(name="reconcile")
def reconcile(params_file: Path, overrides: list[str] | None = None, models: list[str] | None = None) -> None:
    """Version the data, then train, evaluate, inspect and judge each model; where nothing is stale nothing happens."""
    project, changes = find_project(params_file.parent), overrides or []
    params = load_params(params_file, changes)
    names = selected_models(params, models or [])
    datasets = list(dict.fromkeys(dataset for name in names for dataset in datasets_of(params.models[name])))
    with exclusive(project):
        ingest_datasets(project, params_file, changes, datasets)
        failures = [f"{name}: {error}" for name in names if (error := _advance(project, params_file, changes, name))]
    if failures:
        raise TrainingError(f"{len(failures)} of {len(names)} models failed:\n  " + "\n  ".join(failures))


def _advance(project: Project, params_file: Path, overrides: list[str], name: str) -> AtelierError | None:
    """One model's four stages; its failure is returned, so that the other models still get their turn."""
    try:
        number = train_model(project, params_file, overrides, name)
        evaluate_version(project, params_file, overrides, name, number)
        inspect_version(project, name, number)
        judge_version(project, params_file, overrides, name, number)
    except AtelierError as error:
        return error
    return None
