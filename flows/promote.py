"""Flow `promote`: load one version as a stranger would, and let the gate judge it."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from atelier.factory import Factory
from atelier.factory.inspect import inspect
from atelier.params import load_params
from atelier.project import Project, find_project
from atelier.promotion import let_the_gate_decide
from atelier.registry import Registry
from flows.work import at_work


@task(name="inspect", task_run_name="inspect {name}/{number}", cache_policy=NO_CACHE)
def inspect_version(project: Project, name: str, number: int) -> list[str]:
    """Load and query a version in a fresh process unless that was done.

    Returns:
        Why it is refused.
    """
    registry = Registry(project)
    return inspect(registry, registry.version(name, number))


@task(name="promote", task_run_name="promote {name}/{number}", cache_policy=NO_CACHE)
def judge_version(
    project: Project, params_file: Path, overrides: list[str], name: str, number: int
) -> str:
    """Let the gate decide about an evaluated version that was not judged yet.

    Returns:
        The verdict.
    """
    factory = Factory.open(project, load_params(params_file, overrides))
    return let_the_gate_decide(factory, name, number, str(flow_run.id))


@flow(name="promote")
def promote(params_file: Path, name: str, number: int, overrides: list[str] | None = None) -> str:
    """Inspect and judge one evaluated version."""
    project = find_project(params_file.parent)
    with at_work(project):
        inspect_version(project, name, number)
        return judge_version(project, params_file, overrides or [], name, number)
