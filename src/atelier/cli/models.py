"""The command that shows what models did: `atelier pictures`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atelier.cli.options import open_registry
from atelier.errors import RegistryError
from atelier.project import open_project


def pictures(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Default: all champions.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder.  [default: results]")
    ] = None,
) -> None:
    """Fetch the pictures that the evaluation of each model left in the registry."""
    from atelier.registry import CHAMPION
    from atelier.ui import outputs

    project = open_project()
    registry = open_registry(project)
    champions = [name for name in registry.model_names() if registry.version_at(name, CHAMPION)]
    pictures_by_path: dict[Path, bytes] = {}
    problems = []
    for version in map(registry.resolve, models or champions):
        try:
            pictures_of_version = registry.runs.pictures(version.run_id)
        except RegistryError as error:  # those of the others are there
            problems.append(f"{version}: {registry.explain_loss(version) or error}")
            continue
        for name, png in pictures_of_version.items():
            file = f"{version.model}-{name}"
            path = output / file if output else outputs.default_output(project, file)
            pictures_by_path[path] = png
    outputs.write_outputs(project, pictures_by_path)
    for path in pictures_by_path:
        print(path)
    if problems:
        raise RegistryError("; ".join(problems))


COMMANDS = (pictures,)
