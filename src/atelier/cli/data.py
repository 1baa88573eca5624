"""The `atelier data` commands: what `data/` holds, its versions, and what differs between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atelier.cli.options import Json, ParamsFile, print_answer
from atelier.project import open_project

app = typer.Typer(
    help="What data/ holds, and its versions. "
    "REV is a git revision, an md5 of data/, or now: the working copy.",
    no_args_is_help=True,
)


@app.command()
def status(
    params_file: ParamsFile = None,
    as_json: Json = False,
) -> None:
    """Show what each dataset holds, whether it is up to date, and whether the remote has it all."""
    from atelier.cli.tables import data as tables
    from atelier.data.versions import report
    from atelier.params import load_params

    project = open_project()
    params = load_params((params_file or project.params_file).resolve(), [])
    print_answer(report.status(project.root, params.datasets), as_json, tables.print_status)


@app.command("list")
def list_versions(as_json: Json = False) -> None:
    """List the versions of data/ in git, newest first; before them a working copy that differs."""
    from atelier.cli.tables import data as tables
    from atelier.data.versions import report

    versions = report.list_versions(open_project().root)
    print_answer(versions, as_json, tables.print_versions)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A")] = "HEAD",
    after: Annotated[str, typer.Argument(metavar="B")] = "now",
    as_json: Json = False,
) -> None:
    """Show what was added, removed, relabelled and moved between splits from version A to B."""
    from atelier.cli.tables import data as tables
    from atelier.data.versions.changes import compare
    from atelier.data.versions.history import open_snapshot

    root = open_project().root
    first = open_snapshot(root, before)
    second = open_snapshot(root, after)
    answer = {
        "before": {"revision": first.revision, "md5": first.md5},
        "after": {"revision": second.revision, "md5": second.md5},
        "datasets": [change.as_json() for change in compare(first, second)],
    }
    print_answer(answer, as_json, tables.print_changes)


@app.command()
def show(
    image: Annotated[
        str,
        typer.Argument(help="First digits of its content hash (4 or more), or its file's name."),
    ],
    revision: Annotated[str, typer.Option("--rev", help="The version to look into.")] = "now",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the picture to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is known of one picture, stored or in quarantine."""
    from atelier.cli.tables import data as tables
    from atelier.data.versions import lookup
    from atelier.data.versions.history import open_snapshot
    from atelier.errors import UsageError
    from atelier.pictures import encode_picture
    from atelier.ui.outputs import write_output

    project = open_project()
    root = project.root
    snapshot = open_snapshot(root, revision)
    record = lookup.find(root, snapshot, image)
    if output is not None:
        if record.sha256 is None:
            raise UsageError(
                f"{record.names[0]} is in quarantine ({record.reason}), so it isn't stored. "
                "Look at the file."
            )
        picture = encode_picture(lookup.pixels(snapshot, record), output)
        write_output(project, output, picture)
    print_answer(record.as_json(), as_json, tables.print_picture)


@app.command()
def checkout(revision: Annotated[str, typer.Argument(metavar="REV")]) -> None:
    """Make data/ and data.dvc another version; refused where that would lose data."""
    from atelier.data.versions import dvc, history
    from atelier.errors import UsageError
    from atelier.project import exclusive

    project = open_project()
    if revision == history.NOW:
        raise UsageError(
            "the working copy is `now` already. "
            "Give a git revision, or an md5 of `atelier data list`."
        )
    with exclusive(project):
        md5 = history.resolve(project.root, revision)
        changed = dvc.checkout(project.root, md5)
    verb = "is now" if changed else "was already"
    print(f"data/ {verb} version {md5}.")
    print("The next `atelier run` or `atelier ingest` brings it to what the sources hold.")
    if history.md5_at(project.root, "HEAD") != md5:
        print(
            "data.dvc differs from git's HEAD: commit it to keep this version, or go back: "
            "atelier data checkout HEAD"
        )
