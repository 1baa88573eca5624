"""Flow `promote`: let the gate judge one version."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from atelier import stages
from atelier.params import load_params
from atelier.project import Project, exclusive, find_project


@task(name="promote", task_run_name="promote {name}/{number}", cache_policy=NO_CACHE)
def judge_version(project: Project, params_file: Path, overrides: list[str], name: str, number: int) -> str:
    """Let the gate decide about an evaluated version that was not judged yet; returns the verdict."""
    return stages.decide(project, load_params(params_file, overrides), name, number)


@flow(name="promote")
def promote(params_file: Path, name: str, number: int, overrides: list[str] | None = None) -> str:
    """Judge one evaluated version."""
    project = find_project(params_file.parent)
    with exclusive(project):
        return judge_version(project, params_file, overrides or [], name, number)
