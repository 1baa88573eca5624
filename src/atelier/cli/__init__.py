"""The `atelier` command. Every import of weight is inside a command: `--help` answers at once."""

from __future__ import annotations

import os
import sys

import typer

from atelier.cli import (
    data,
    export,
    factory,
    generate,
    models,
    operate,
    promotion,
    restore,
    review,
    serve,
    start,
)
from atelier.cli.ending import Ending
from atelier.errors import AtelierError

app = typer.Typer(
    name="atelier",
    help="A model factory for image generation and image restoration. "
    "MODEL is name, name@alias or name/version.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(data.app, name="data")
app.add_typer(operate.schedule_app, name="schedule")
for room in (
    start,
    factory,
    generate,
    restore,
    serve,
    models,
    export,
    promotion,
    review,
    operate,
):
    for command in room.COMMANDS:
        app.command()(command)


def main() -> None:
    """Run the command line.

    A user's mistake becomes one message on stderr and exit code 1 or 2, never a traceback.
    """
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
