"""Flow `evaluate`: score one version on today's test data."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from atelier.factory import Factory
from atelier.factory.evaluate import evaluate as score_version
from atelier.params import load_params
from atelier.project import Project, find_project
from flows.work import at_work


@task(name="evaluate", task_run_name="evaluate {name}/{number}", cache_policy=NO_CACHE)
def evaluate_version(
    project: Project, params_file: Path, overrides: list[str], name: str, number: int
) -> dict[str, float]:
    """Score a version and its champion unless their scores are today's; returns {metric: value}."""
    factory = Factory.open(project, load_params(params_file, overrides))
    return score_version(factory, name, number)


@flow(name="evaluate")
def evaluate(
    params_file: Path, name: str, number: int, overrides: list[str] | None = None
) -> dict[str, float]:
    """Evaluate one registered version."""
    project = find_project(params_file.parent)
    with at_work(project):
        return evaluate_version(project, params_file, overrides or [], name, number)
