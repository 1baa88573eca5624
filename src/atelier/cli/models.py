"""The commands that use models: `atelier generate`, `pictures`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atelier.cli.options import load_version, open_registry
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
    version, served, config = load_version(model, "gan")
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


COMMANDS = (generate, pictures)


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
