"""The commands that begin a project: `atelier init`, and `params` to see what it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from atelier.cli.options import Json, Override, ParamsFile, print_answer
from atelier.errors import UsageError


def init(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The project.")] = Path("."),
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", help="Your own: a folder, an archive, parquet or IDX files."),
    ] = None,
    example: Annotated[
        str | None, typer.Option("--example", help="Or a params.yaml that is shipped, by its name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Begin a project: git, DVC, what both ignore, and a params.yaml that fits your pictures.

    Nothing that is there is replaced; a second call changes nothing.
    """
    from atelier.cli.tables.start import print_start
    from atelier.init.examples import read_example
    from atelier.init.project import lay_out
    from atelier.init.recipes import propose
    from atelier.init.survey import survey

    if pictures is not None and example is not None:
        raise UsageError("give --pictures or --example, not both: one params.yaml is written.")
    report: dict[str, Any] = {"project": str(folder.resolve()), "seen": None, "models": {}}
    ignored: list[str] = []
    if pictures is not None:
        seen = survey(folder, pictures)
        proposal = propose(seen)
        text = proposal.text
        report |= {"seen": seen.as_json(), "models": proposal.models}
        if not Path(seen.path).is_absolute():
            ignored = ["# originals: data/ holds what is versioned", f"/{seen.path}"]
    else:
        text = read_example(example or "fashion")
    report["files"] = {step.name: step.done for step in lay_out(folder, text, ignored)}
    report["params"] = text
    print_answer(report, as_json, print_start)


def params(
    show_all: Annotated[bool, typer.Option("--all", help="Defaults as well.")] = False,
    params_file: ParamsFile = None,
    overrides: Override = None,
    as_json: Json = False,
) -> None:
    """Show the values that a run would use, and where each comes from; change nothing."""
    from atelier.cli.tables.start import print_values
    from atelier.params.origins import values_of
    from atelier.project import find_project

    path = (params_file or find_project().params_file).resolve()
    values = values_of(path, overrides or [])
    shown = [value for value in values if show_all or value.origin != "default"]
    print_answer([value.as_json() for value in shown], as_json, print_values)
    if not show_all and not as_json:
        print(f"{len(values) - len(shown)} defaults: atelier params --all shows them.")


COMMANDS = (init, params)
