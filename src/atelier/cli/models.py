"""The commands that use models: `atelier generate`, `restore`, `pictures`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from atelier.cli.options import open_registry
from atelier.errors import RegistryError, UsageError
from atelier.project import open_project


def generate(
    model: Annotated[str, typer.Argument(help="A GAN.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The grid.  [default: results/MODEL-VERSION.png]"),
    ] = None,
    num_images: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many images.")] = 64,
    wanted: Annotated[
        str | None, typer.Option("--class", help="Name or number of a class.  [default: all]")
    ] = None,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=2**63 - 1, help="The same seed gives the same images."),
    ] = 0,
) -> None:
    """Generate images with a registered GAN and write them as one grid."""
    import pandas as pd

    from atelier.pictures import encode_picture, grid
    from atelier.ui import outputs

    project = open_project()
    version, served, config = _load(model, "gan")
    output = output or outputs.default_output(project, f"{version.model}-{version.number}.png")
    outputs.refuse_overwriting(project, output)
    class_names = config["class_names"]
    if len(class_names) != config["network"]["num_classes"]:
        class_names = []  # unconditional GANs registered before kept the names of their dataset
    number = _class_number(wanted, class_names)
    request = pd.DataFrame({"num_images": [num_images], "seed": [seed], "class": [number]})
    columns = 10 if number < 0 and num_images % 10 == 0 else max(1, round(num_images**0.5))
    picture = grid(served.predict(request), columns)
    outputs.write_output(project, output, encode_picture(picture, output))
    print(f"{output}: {num_images} images by {version}")


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

    version, served, config = _load(model, "restoration")
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
    for path in pictures_by_path:
        outputs.refuse_overwriting(project, path)
    for path, png in pictures_by_path.items():
        outputs.write_output(project, path, png)
        print(path)
    if problems:
        raise RegistryError("; ".join(problems))


COMMANDS = (generate, restore, pictures)


def _load(reference: str, kind: str) -> tuple[Any, Any, dict[str, Any]]:
    """The version, its pyfunc and its configuration, of the kind that the command needs."""
    registry = open_registry()
    version = registry.resolve(reference)
    served = registry.load(version)
    config = served.unwrap_python_model().config
    if config["kind"] != kind:
        raise UsageError(
            f"{version} is a {config['kind']} model; this command needs a {kind} model."
        )
    return version, served, config


def _class_number(wanted: str | None, class_names: list[str]) -> int:
    """Number of a class asked for by name or, where none is called so, by number; -1: all."""
    if wanted is None:
        return -1
    if wanted in class_names:
        return class_names.index(wanted)
    by_name = {str(number): number for number in range(len(class_names))}
    by_name |= {name.lower(): number for number, name in enumerate(class_names)}
    if wanted.lower() not in by_name:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(class_names)) or "none"
        raise UsageError(f"--class {wanted!r} is not a class of this model; its classes: {names}.")
    return by_name[wanted.lower()]
