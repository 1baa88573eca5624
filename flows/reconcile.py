"""Flow `reconcile`, the main one: bring the registry to the state that params.yaml describes."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from atelier.errors import AtelierError, TrainingError
from atelier.factory import Factory
from atelier.factory.estimate import add_estimates
from atelier.factory.fingerprint import datasets_of
from atelier.factory.plan import make_plan, selected_models
from atelier.factory.stages import stages_of
from atelier.params import Params, load_params
from atelier.project import Project, find_project
from atelier.ui.fleet import Fleet, Stage, show_fleet
from flows.evaluate import evaluate_version
from flows.ingest import ingest_datasets
from flows.promote import inspect_version, judge_version
from flows.train import train_model
from flows.work import at_work


@flow(name="reconcile")
def reconcile(
    params_file: Path, overrides: list[str] | None = None, models: list[str] | None = None
) -> None:
    """Version the data, then train, evaluate, inspect and judge each model.

    Where nothing is stale nothing happens.
    """
    project = find_project(params_file.parent)
    changes = overrides or []
    params = load_params(params_file, changes)
    with at_work(project):
        bring_up_to_date(project, params, params_file, changes, models or [])


def bring_up_to_date(
    project: Project, params: Params, params_file: Path, overrides: list[str], models: list[str]
) -> None:
    """The stages of a reconciliation, in a flow that holds the project.

    Raises:
        AtelierError: if the data can't be brought up to date, or naming every model that failed
            after all had a turn.
    """
    names = selected_models(params, models)
    datasets: dict[str, None] = {}  # in this order, each once
    for name in names:
        datasets |= dict.fromkeys(datasets_of(params.models[name]))
    failures = []
    with show_fleet(_find_stages(project, params, names)) as fleet:
        ingest_datasets(project, params_file, overrides, list(datasets), fleet)
        for name in names:
            error = _advance(project, params_file, overrides, name, fleet)
            if error is not None:
                failures.append(f"{name}: {error}")
    if failures:
        raise TrainingError(
            f"{len(failures)} of {len(names)} models failed:\n  " + "\n  ".join(failures)
        )


def _find_stages(project: Project, params: Params, names: list[str]) -> list[Stage]:
    """What the plan makes this run do, with the times that it expects."""
    factory = Factory.open(project, params)
    return stages_of(add_estimates(factory, make_plan(factory, names)))


def _advance(
    project: Project, params_file: Path, overrides: list[str], name: str, fleet: Fleet
) -> AtelierError | None:
    """One model's four stages.

    Its failure is returned, so that the other models still get their turn.
    """
    try:
        with fleet.at(name, "train"):
            number = train_model(project, params_file, overrides, name)
        with fleet.at(name, "evaluate"):
            evaluate_version(project, params_file, overrides, name, number)
        with fleet.at(name, "inspect"):
            inspect_version(project, name, number)
        with fleet.at(name, "judge"):
            judge_version(project, params_file, overrides, name, number)
    except AtelierError as error:
        return error
    return None
