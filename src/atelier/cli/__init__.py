"""The `atelier` command. Every import of weight is inside a command, so that `atelier --help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atelier import data_commands, past_commands, promotion_commands
from atelier.cli import operate
from atelier.cli.ending import Ending
from atelier.errors import AtelierError, RegistryError, UsageError
from atelier.project import open_project

if TYPE_CHECKING:
    from atelier.params import Params
    from atelier.project import Project
    from atelier.registry import Registry

app = typer.Typer(
    name="atelier",
    help="A model factory for image generation and image restoration. MODEL is name, name@alias or name/version.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(data_commands.app, name="data")
app.add_typer(operate.schedule_app, name="schedule")
for command in (*operate.COMMANDS, *promotion_commands.COMMANDS, *past_commands.COMMANDS):
    app.command()(command)

ParamsFile = Annotated[Path | None, typer.Option("--params", help="The desired state.  [default: params.yaml]")]
Override = Annotated[list[str] | None, typer.Option("-S", "--set", help="Override: dotted.key=value. Repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def main() -> None:
    """Entry point: a user's mistake becomes one message on stderr and exit code 1 or 2, never a traceback."""
    with Ending():
        try:
            app()
        except AtelierError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        except BrokenPipeError:  # who read it, as `head` does, has seen enough
            # Nothing to flush at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:  # a full disk, or a folder that can't be read or written
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)


@app.command()
def run(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Only these.")] = None,
    params_file: ParamsFile = None,
    overrides: Override = None,
) -> None:
    """Bring data, models and registry to the state that params.yaml describes; do nothing where nothing is stale."""
    from atelier import tables
    from atelier.plan import make_plan, selected_models

    project, params, path = _open(params_file, overrides)
    if params.device.startswith("cuda"):
        from atelier.training.device import choose_device

        choose_device(params.device)  # a GPU that isn't there is found here, before any work
    registry = _registry(project)
    plan = make_plan(project, params, registry, models or [])
    tables.print_plan(plan)
    if all(item.state == "fresh" for item in plan):
        print("Nothing to do: every dataset and every model is fresh.")
        return

    from flows.embedded import run_flow
    from flows.reconcile import reconcile

    try:
        run_flow(reconcile, params_file=path, overrides=overrides or [], models=models or [])
    except Exception:  # not for a signal: who stops a run wants it to end
        tables.print_results(registry, selected_models(params, models or []))
        raise
    tables.print_results(registry, selected_models(params, models or []))


@app.command()
def plan(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Only these.")] = None,
    params_file: ParamsFile = None,
    overrides: Override = None,
    as_json: Json = False,
) -> None:
    """Show what `atelier run` would do, and why; change nothing."""
    from atelier import tables
    from atelier.plan import make_plan

    project, params, _ = _open(params_file, overrides)
    items = make_plan(project, params, _registry(project), models or [])
    if as_json:
        print(json.dumps([item.as_json() for item in items], indent=2))
    else:
        tables.print_plan(items)


@app.command()
def ingest(params_file: ParamsFile = None, overrides: Override = None) -> None:
    """Read the sources into data/, version them in data.dvc, and push them to the DVC remote."""
    _, _, path = _open(params_file, overrides)
    from flows.embedded import run_flow
    from flows.ingest import ingest_all

    md5 = run_flow(ingest_all, params_file=path, overrides=overrides or [])
    print(f"data.dvc names {md5}; pushed to the DVC remote.")


@app.command()
def history(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None, as_json: Json = False
) -> None:
    """List all versions of all models: scores with intervals, verdicts and their reasons."""
    from atelier import tables
    from atelier.promotion import drift

    registry = _registry(open_project())
    known = registry.model_names()
    if model is not None and model not in known:
        from atelier.params.errors import nearest

        raise UsageError(f"no model {model!r} is registered.{nearest(model, known)}")
    versions = [version for name in ([model] if model else known) for version in registry.versions(name)]
    entries = [tables.history_entry(registry, version) for version in versions]
    if as_json:
        print(json.dumps(entries, indent=2))
    else:
        tables.print_history(entries)
        tables.print_warnings(line for name in ([model] if model else known) for line in drift(registry, name))


@app.command()
def generate(
    model: Annotated[str, typer.Argument(help="A GAN.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The grid.  [default: results/MODEL-VERSION.png]"),
    ] = None,
    num_images: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many images.")] = 64,
    wanted: Annotated[str | None, typer.Option("--class", help="Name or number of a class.  [default: all]")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="The same seed gives the same images.")] = 0,
) -> None:
    """Generate images with a registered GAN and write them as one grid."""
    import pandas as pd

    from atelier import outputs
    from atelier.pictures import encode_picture, grid

    project = open_project()
    version, served, config = _load(model, "gan")
    output = output or outputs.default_output(project, f"{version.model}-{version.number}.png")
    outputs.refuse_overwriting(project, output)
    class_names = config["class_names"]
    known = config["network"]["num_classes"]
    # Unconditional GANs registered before kept the names of their dataset.
    number = _class_number(wanted, class_names if len(class_names) == known else [])
    request = pd.DataFrame({"num_images": [num_images], "seed": [seed], "class": [number]})
    columns = 10 if number < 0 and num_images % 10 == 0 else max(1, round(num_images**0.5))
    picture = grid(served.predict(request), columns)
    outputs.write_output(project, output, encode_picture(picture, output))
    print(f"{output}: {num_images} images by {version}")


@app.command()
def restore(
    model: Annotated[str, typer.Argument(help="A restorer.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Pictures, or folders of pictures.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder.  [default: results/MODEL-VERSION]"),
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="If recurrent.  [default: as trained]")] = None,
    sigma: Annotated[float | None, typer.Option(min=0, max=1, help="Of the noise.  [default: estimated]")] = None,
) -> None:
    """Restore pictures of any size with a registered restorer."""
    from atelier.outputs import default_output
    from atelier.restore import restore_files

    version, served, config = _load(model, "restoration")
    if iterations is not None and "iterations" not in config["network"]:
        raise UsageError(f"{version} is not recurrent, so --iterations has no meaning. Leave it out.")
    if sigma is not None and not config["network"].get("noise_level"):
        raise UsageError(f"{version} is not told the noise level, so --sigma has no meaning. Leave it out.")
    settings = {key: value for key, value in (("iterations", iterations), ("sigma", sigma)) if value is not None}
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


@app.command()
def pictures(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Default: all champions.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder.  [default: results]")] = None,
) -> None:
    """Fetch the pictures that the evaluation of each model left in the registry."""
    from atelier import outputs
    from atelier.registry import CHAMPION

    project = open_project()
    registry = _registry(project)
    champions = [name for name in registry.model_names() if registry.aliased(name, CHAMPION)]
    found: dict[Path, bytes] = {}
    problems = []
    for version in map(registry.resolve, models or champions):
        try:
            pictures_of_version = registry.runs.pictures(version.run_id)
        except RegistryError as error:  # those of the others are there
            problems.append(f"{version}: {registry.why_lost(version) or error}")
            continue
        for name, png in pictures_of_version.items():
            file = f"{version.model}-{name}"
            found[output / file if output else outputs.default_output(project, file)] = png
    for path in found:
        outputs.refuse_overwriting(project, path)
    for path, png in found.items():
        outputs.write_output(project, path, png)
        print(path)
    if problems:
        raise RegistryError("; ".join(problems))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine and project: packages, device, git, DVC, registry, disk."""
    from atelier import tables
    from atelier.doctor import check_all

    checks = check_all(open_project())
    if as_json:
        print(json.dumps([check.as_json() for check in checks], indent=2))
    else:
        tables.print_checks(checks)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _open(params_file: Path | None, overrides: list[str] | None) -> tuple[Project, Params, Path]:
    from atelier.data.versions.dvc import data_md5
    from atelier.params import load_params

    project = open_project()
    data_md5(project.root)  # one that can't be read, as in a merge, is found before any work
    path = (params_file or project.params_file).resolve()
    return project, load_params(path, overrides or []), path


def _registry(project: Project) -> Registry:
    from atelier.registry import Registry

    return Registry(project)


def _load(reference: str, kind: str) -> tuple[Any, Any, dict[str, Any]]:
    """The version, its pyfunc and its configuration, of the kind that the command needs."""
    registry = _registry(open_project())
    version = registry.resolve(reference)
    served = registry.load(version)
    config = served.unwrap_python_model().config
    if config["kind"] != kind:
        raise UsageError(f"{version} is a {config['kind']} model; this command needs a {kind} model.")
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
        known = ", ".join(f"{number} {name}" for number, name in enumerate(class_names)) or "none"
        raise UsageError(f"--class {wanted!r} is not a class of this model; its classes: {known}.")
    return by_name[wanted.lower()]


if __name__ == "__main__":
    main()
