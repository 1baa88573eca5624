"""The command `atelier serve`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from atelier.cli.options import open_registry
from atelier.project import open_project
from atelier.service.limits import Limits


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Restorers and GANs. Default: all champions."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address; 0.0.0.0 lets everybody in, without a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 8000,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Of a picture.")
    ] = Limits.max_pixels,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", min=1, help="Of a request.")
    ] = Limits.max_bytes,
    waiting: Annotated[
        int, typer.Option(min=1, help="Pictures that may wait; more are refused with 429.")
    ] = Limits.waiting,
    statistics: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of requests whose statistics are kept for monitoring; 0: none.",
        ),
    ] = 0.1,
) -> None:
    """Serve champions over HTTP, with a page to try them; follows promotions and rollbacks."""
    from atelier.service.fleet import Fleet
    from atelier.service.run import listen, run
    from atelier.service.sightings import FOLDER, Sightings

    project = open_project()
    with listen(host, port) as socket:
        fleet = Fleet(open_registry(project), models or [], _tell)
        fleet.open()
        sightings = Sightings(project.cache / FOLDER, statistics)
        run(fleet, sightings, socket, Limits(max_pixels, max_bytes, waiting))


def _tell(news: str) -> None:
    print(news, file=sys.stderr, flush=True)


COMMANDS = (serve,)
