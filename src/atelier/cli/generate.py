"""The command that draws images: `atelier generate`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atelier.cli.options import load_served, open_registry
from atelier.cli.sampling import Confidence, Gan, JudgeName, Spread, draw_images, read_wish
from atelier.errors import UsageError
from atelier.project import open_project
from atelier.serving.classes import class_names_of, class_number

if TYPE_CHECKING:
    from atelier.registry import Version

MOST_IMAGES = 10_000
NUM_IMAGES = 64
NUM_ROWS = 8  # of ways from seed to seed
NUM_STEPS = 8
MOST_SEED = 2**63 - 1


class Format(StrEnum):
    """Of a file for a single image."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    TIFF = "tiff"


Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="The grid, or with --each a folder.  [default: results/MODEL-VERSION.png, or without "
        ".png]",
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "-n",
        min=1,
        max=MOST_IMAGES,
        help="How many images, or rows with --interpolate.  [default: 64, or 8 rows]",
    ),
]
Wanted = Annotated[
    str | None, typer.Option("--class", help="Name or number of a class.  [default: all]")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=MOST_SEED, help="The same seed gives the same images.")
]
Truncation = Annotated[
    float | None,
    typer.Option(
        help="Latents from within this many standard deviations only, above 0: the same images, "
        "less varied and more typical.  [default: all latents]",
    ),
]
Interpolate = Annotated[
    list[int] | None,
    typer.Option(
        min=0,
        max=MOST_SEED,
        metavar="SEED",
        help="A row for each image, from that of --seed to that of this seed. Repeatable: and on "
        "to the next.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=2, max=MOST_IMAGES, help="Images from seed to seed, with both ends.  [default: 8]"
    ),
]
Each = Annotated[
    bool, typer.Option("--each", help="No grid, but a file for each image: SEED-INDEX.png.")
]
FileFormat = Annotated[
    Format | None,
    typer.Option(
        "--format", metavar="png|jpg|webp|tiff", help="Of the files of --each.  [default: png]"
    ),
]


def generate(
    model: Annotated[str, typer.Argument(help="A GAN.")],
    output: Output = None,
    num_images: Count = None,
    wanted: Wanted = None,
    seed: Seed = 0,
    truncation: Truncation = None,
    spread: Spread = None,
    confidence: Confidence = None,
    judge: JudgeName = None,
    interpolate: Interpolate = None,
    steps: Steps = None,
    each: Each = False,
    file_format: FileFormat = None,
) -> None:
    """Generate images with a registered GAN and write them as one grid, or one by one."""
    from atelier.pictures import encode_picture, grid, to_pixels
    from atelier.ui import outputs

    columns = _columns([seed, *(interpolate or [])], steps)
    rows = num_images or (NUM_IMAGES if len(columns) == 1 else NUM_ROWS)
    _refuse_too_many(rows * len(columns))
    _refuse_truncation(truncation)
    wish = read_wish(spread, confidence, judge, on_the_way=bool(interpolate))
    if file_format and not each:
        raise UsageError("--format is of the files of --each. Give both, or end -o in a format.")
    project = open_project()
    registry = open_registry(project)
    version, served, config = load_served(registry, model, "gan")
    number = class_number(wanted, class_names_of(config))
    fixed: dict[str, float] = {"num_images": rows, "class": number}
    if truncation is not None:
        fixed["truncation"] = truncation
    requests = [column | fixed for column in columns]
    _refuse_unknown(version, served, requests[0])
    name = f"{version.model}-{version.number}"
    place = output or outputs.default_output(project, name if each else f"{name}.png")
    if each:
        names = _file_names(seed, rows, len(columns), file_format or Format.PNG)
        paths = [place / file_name for file_name in names]
    else:
        paths = [place]
    outputs.refuse_overwriting(project, *paths)
    x_NCHW, note = draw_images(registry, Gan(version, served, config), requests, wish)
    across = _num_across(rows, len(columns), number)
    pictures = list(to_pixels(x_NCHW)) if each else [grid(x_NCHW, across)]
    pairs = zip(paths, pictures, strict=True)
    outputs.write_outputs(project, {path: encode_picture(pixels, path) for path, pixels in pairs})
    print(f"{place}: {len(x_NCHW)} images by {version}{note}")


COMMANDS = (generate,)


def _columns(seeds: Sequence[int], steps: int | None) -> list[dict[str, float]]:
    """What is asked for in each column: the seed, or each step of the way from seed to seed."""
    if len(seeds) == 1:
        if steps is not None:
            raise UsageError("--steps is of the way to --interpolate SEED. Give both, or none.")
        return [{"seed": seeds[0]}]
    last = (steps or NUM_STEPS) - 1
    columns: list[dict[str, float]] = [{"seed": seeds[0], "toward": seeds[1], "amount": 0.0}]
    for start, end in pairwise(seeds):
        for step in range(1, last + 1):
            columns.append({"seed": start, "toward": end, "amount": step / last})
    return columns


def _refuse_too_many(count: int) -> None:
    if count > MOST_IMAGES:
        raise UsageError(
            f"{count} images are asked for; at most {MOST_IMAGES} at a time. Lower -n or --steps."
        )


def _refuse_truncation(truncation: float | None) -> None:
    if truncation is not None and not 0 < truncation < float("inf"):
        raise UsageError(f"--truncation {truncation:g} must be above 0. For none, leave it out.")


def _refuse_unknown(version: Version, served: Any, request: dict[str, float]) -> None:
    """Refuse what the code that is stored with a version does not know; MLflow would drop it."""
    known = served.metadata.signature.inputs.input_names()
    options = {"truncation": "--truncation", "toward": "--interpolate"}
    unknown = [option for name, option in options.items() if name in request and name not in known]
    if unknown:
        raise UsageError(
            f"{version} was registered before Atelier had {unknown[0]}, and its own code is stored "
            f"with it. Leave {unknown[0]} out, or train {version.model} again: a version that is "
            "registered now can do it."
        )


def _file_names(seed: int, rows: int, columns: int, file_format: Format) -> list[str]:
    """SEED-INDEX, and SEED-INDEX-STEP of ways from seed to seed; row by row."""
    names = []
    for row in range(rows):
        for column in range(columns):
            step = "" if columns == 1 else f"-{column:03}"
            names.append(f"{seed}-{row:04}{step}.{file_format.value}")
    return names


def _num_across(rows: int, columns: int, number: int) -> int:
    """How many images stand beside each other in the grid."""
    if columns > 1:
        return columns
    return 10 if number < 0 and rows % 10 == 0 else max(1, round(rows**0.5))
