"""The command `atelier restore`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from atelier.cli.options import load_served, open_registry
from atelier.errors import DataError, UsageError
from atelier.project import open_project

if TYPE_CHECKING:
    from atelier.serving.files.listing import Existing, Job
    from atelier.serving.files.restoring import Wishes


Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...", help="Pictures, folders of them, or patterns as 'in/**/*.jpg'."
    ),
]
Format = Annotated[
    Literal["png", "jpeg", "webp", "tiff"] | None,
    typer.Option(
        "--format",
        metavar="png|jpeg|webp|tiff",
        help="Of the results.  [default: each as it was]",
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Of JPEG (else 95) and of WebP (else lossless)."),
]


def restore(
    model: Annotated[str, typer.Argument(help="A restorer.")],
    inputs: Inputs,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder.  [default: results/MODEL-VERSION]"),
    ] = None,
    file_format: Format = None,
    quality: Quality = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also write NAME-compare: before | after.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out what is there already.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there already.")
    ] = False,
    drop_gps: Annotated[
        bool, typer.Option("--drop-gps", help="Leave out where a picture was taken.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes; each loads the model.")] = 1,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="If recurrent.  [default: as trained]")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the noise.  [default: estimated]")
    ] = None,
) -> None:
    """Restore pictures of any size with a registered restorer.

    Format, depth, transparency, colours and camera's data are kept.
    """
    from atelier.serving.files.listing import list_jobs
    from atelier.serving.files.restoring import Wishes
    from atelier.ui.outputs import default_output

    existing = _choose(file_format, quality, skip_existing, overwrite)
    version, served, config = load_served(open_registry(), model, "restoration")
    settings = _settings(f"{version}", config, iterations, sigma)
    output = output or default_output(open_project(), f"{version.model}-{version.number}")
    chosen = None if file_format is None else file_format.upper()
    wishes = Wishes(config["channels"], settings, chosen, quality, drop_gps)
    to_do = list_jobs(inputs, output, chosen, compare, existing, _tell)
    load = partial(_load, f"{version}") if jobs > 1 else lambda: served
    num_restored = _restore(load, wishes, to_do, f"{version}", jobs)
    print(f"{output}: {num_restored} pictures restored by {version}")


COMMANDS = (restore,)


def _tell(note: str) -> None:
    print(f"note: {note}", file=sys.stderr)


def _load(reference: str) -> Any:
    """The pyfunc of a version, in a process of its own."""
    return load_served(open_registry(), reference, "restoration")[1]


def _choose(
    file_format: str | None, quality: int | None, skip_existing: bool, overwrite: bool
) -> Existing:
    """What is done with results that are there.

    Raises:
        UsageError: if options don't fit each other.
    """
    if quality is not None and file_format in ("png", "tiff"):
        raise UsageError(
            f"--quality has no meaning for {file_format}, which loses nothing. Leave it out, or "
            "choose --format jpeg or webp."
        )
    if skip_existing and overwrite:
        raise UsageError("--skip-existing and --overwrite exclude each other. Leave one out.")
    if skip_existing:
        return "skip"
    return "overwrite" if overwrite else "refuse"


def _restore(
    load: Callable[[], Any], wishes: Wishes, to_do: Sequence[Job], version: str, jobs: int
) -> int:
    """Restore all, and tell what people want to know; returns how many.

    Raises:
        DataError: naming those that can't be restored, after the others were.
    """
    from atelier.serving.files.batch import restore_files

    report = restore_files(load, wishes, to_do, version, jobs)
    for line in report.lines():
        _tell(line)
    if report.problems:
        head = f"{len(report.problems)} of {len(to_do)} inputs were not restored:"
        raise DataError("\n  ".join([head, *report.problems]))
    return report.num_restored


def _settings(
    version: str, config: dict[str, Any], iterations: int | None, sigma: float | None
) -> dict[str, float]:
    """What is told to the model.

    Raises:
        UsageError: if it knows no such thing.
    """
    settings: dict[str, float] = {}
    if iterations is not None:
        if "iterations" not in config["network"]:
            raise UsageError(
                f"{version} is not recurrent, so --iterations has no meaning. Leave it out."
            )
        settings["iterations"] = iterations
    if sigma is not None:
        if not config["network"].get("noise_level"):
            raise UsageError(
                f"{version} is not told the noise level, so --sigma has no meaning. Leave it out."
            )
        settings["sigma"] = sigma
    return settings
