"""What several commands take, open and print alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from atelier.errors import UsageError
from atelier.project import open_project

if TYPE_CHECKING:
    from atelier.factory import Factory
    from atelier.params import Params
    from atelier.project import Project
    from atelier.registry import Registry, Version

Models = Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Only these.")]
ParamsFile = Annotated[
    Path | None, typer.Option("--params", help="The desired state.  [default: params.yaml]")
]
Override = Annotated[
    list[str] | None,
    typer.Option("-S", "--set", help="Override: dotted.key=value. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

Answer = TypeVar("Answer")


def open_params(
    params_file: Path | None, overrides: list[str] | None
) -> tuple[Project, Params, Path]:
    """The project, the desired state, and the file that it was read from."""
    from atelier.data.versions.dvc import data_md5
    from atelier.params import load_params

    project = open_project()
    data_md5(project.root)  # one that can't be read, as in a merge, is found before any work
    path = (params_file or project.params_file).resolve()
    return project, load_params(path, overrides or []), path


def open_factory(project: Project, params: Params) -> Factory:
    """The project's factory; MLflow is imported for it."""
    from atelier.factory import Factory

    return Factory.open(project, params)


def open_registry(project: Project | None = None) -> Registry:
    """The registry of a project, by default of the one that the command was given in."""
    project = project or open_project()  # before MLflow is imported: it sets the environment
    from atelier.registry import Registry

    return Registry(project)


def require_model(registry: Registry, model: str) -> None:
    """Refuse a name of which nothing is registered.

    Raises:
        UsageError: with the nearest one that is known.
    """
    from atelier.params.errors import nearest

    names = registry.model_names()
    if model not in names:
        raise UsageError(f"no model {model!r} is registered.{nearest(model, names)}")


def load_served(
    registry: Registry, reference: str, kind: str
) -> tuple[Version, Any, dict[str, Any]]:
    """The version, its pyfunc and its configuration, of the kind that a command needs.

    Raises:
        UsageError: if it is of another kind.
    """
    version = registry.resolve(reference)
    served = registry.load(version)
    config = served.unwrap_python_model().config
    if config["kind"] != kind:
        raise UsageError(
            f"{version} is a {config['kind']} model; this command needs a {kind} model."
        )
    return version, served, config


def print_answer(answer: Answer, as_json: bool, print_table: Callable[[Answer], None]) -> None:
    """Print what a command answers: for people, or with `--json` for programs."""
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        print_table(answer)
