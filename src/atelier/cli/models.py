"""The commands that show what models do: `atelier restore`, `pictures`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from atelier.cli.options import load_served, open_registry
from atelier.errors import RegistryError, UsageError
from atelier.project import open_project


def restore(
    model: Annotated[str, typer.Argument(help="A restorer.")],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Pictures, or folders of pictures.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder.  [default: results/MODEL-VERSION]"),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="If recurrent.  [default: as trained]")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the noise.  [default: estimated]")
    ] = None,
) -> None:
    """Restore pictures of any size with a registered restorer."""
    from atelier.serving.restore import restore_files
    from atelier.ui.outputs import default_output

    version, served, config = load_served(open_registry(), model, "restoration")
    if iterations is not None and "iterations" not in config["network"]:
        raise UsageError(
            f"{version} is not recurrent, so --iterations has no meaning. Leave it out."
        )
    if sigma is not None and not config["network"].get("noise_level"):
        raise UsageError(
            f"{version} is not told the noise level, so --sigma has no meaning. Leave it out."
        )
    settings: dict[str, float] = {}
    if iterations is not None:
        settings["iterations"] = iterations
    if sigma is not None:
        settings["sigma"] = sigma
    output = output or default_output(open_project(), f"{version.model}-{version.number}")
    written = restore_files(
        served,
        config["channels"],
        inputs,
        output,
        settings,
        tell=lambda note: print(f"note: {note}", file=sys.stderr),
    )
    print(f"{output}: {written} pictures restored by {version}")


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


COMMANDS = (restore, pictures)
