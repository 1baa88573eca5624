"""The commands that look back: `atelier history`, `lineage`, `reproduce`, `compare`, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atelier.cli.options import Json, open_registry, print_answer, require_model
from atelier.errors import ProvenanceError, RegistryError, UsageError


def history(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    as_json: Json = False,
) -> None:
    """List all versions of all models: scores with intervals, verdicts and their reasons."""
    from atelier.cli.tables.history import print_history
    from atelier.promotion import disagreements
    from atelier.review.history import history_entry
    from atelier.ui.tables import print_warnings

    registry = open_registry()
    if model is not None:
        require_model(registry, model)
    names = [model] if model else registry.model_names()
    entries = []
    for name in names:
        entries += [history_entry(registry, version) for version in registry.versions(name)]
    print_answer(entries, as_json, print_history)
    if not as_json:
        for name in names:
            print_warnings(disagreements(registry, name))


def lineage(
    model: Annotated[str | None, typer.Argument(help="A version.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="MD5", help="Or who used this version of data/?")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a version was made of and what was made of it; a link to nowhere is an error."""
    from atelier.cli.tables import review as tables
    from atelier.review.data_use import users_of_data
    from atelier.review.lineage import lineage as both_directions
    from atelier.review.trace import trace

    if (model is None) == (data is None):
        raise UsageError("atelier lineage needs one of two: MODEL, or --data MD5.")
    registry = open_registry()
    if data is not None:
        answer = users_of_data(registry, data)
        print_answer(answer, as_json, tables.print_users)
    else:
        answer = both_directions(registry, trace(registry, registry.resolve(model or "")))
        print_answer(answer, as_json, tables.print_lineage)
    problems = [f"{missing['link']}: {missing['problem']}" for missing in answer["missing"]]
    if problems:
        raise ProvenanceError(f"{len(problems)} missing:\n  " + "\n  ".join(problems))


def reproduce(
    model: Annotated[str, typer.Argument(help="A version; or its model, and the number after it.")],
    number: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="The number of the version.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a version again as it was, in a git worktree, and compare the weights bit by bit.

    The exit code is 0 if they are identical, else 1. The report is kept with the version.
    """
    from atelier.cli.tables import review as tables
    from atelier.review.reproduction import reproduce as make_again

    registry = open_registry()
    version = registry.resolve(model if number is None else f"{model}/{number}")
    answer = make_again(registry, version)
    print_answer(answer, as_json, tables.print_reproduction)
    if not answer["weights"]["identical"]:
        raise typer.Exit(1)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A version, or the id of an MLflow run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with pictures, in one file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show in what two versions differ: parameters, data, code, and scores by pairs of images."""
    from atelier.cli.tables import review as tables
    from atelier.review import comparison
    from atelier.review.comparison_page import comparison_page
    from atelier.ui.outputs import refuse_overwriting, write_output

    registry = open_registry()
    if html is not None:
        refuse_overwriting(registry.project, html)
    side_a = comparison.open_side(registry, a)
    side_b = comparison.open_side(registry, b)
    answer = comparison.compare(registry, side_a, side_b)
    if html is not None:
        page = comparison_page(answer, comparison.fetch_pictures(registry, side_a, side_b))
        write_output(registry.project, html, page.encode())
    print_answer(answer, as_json, tables.print_comparison)


def card(
    model: Annotated[str, typer.Argument(help="A version.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="[default: results/MODEL-VERSION.html]")
    ] = None,
) -> None:
    """Write the model card of a version: purpose, data, scores, limits, pictures, provenance."""
    from atelier.ui.outputs import default_output, write_output

    registry = open_registry()
    version = registry.resolve(model)
    page = registry.runs.read_bytes(version.run_id, "card/card.html")
    if page is None:
        loss = registry.explain_loss(version)
        if loss:
            raise RegistryError(f"the card of {version} can't be read: {loss}.")
        raise UsageError(
            f"{version} has no card yet: it is written when the gate has judged (`atelier run`)."
        )
    name = f"{version.model}-{version.number}.html"
    path = output or default_output(registry.project, name)
    write_output(registry.project, path, page)
    print(path)


def report(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="[default: results/report.html]")
    ] = None,
) -> None:
    """Write the history of all models: scores over time, champions, decisions, failures, cost."""
    from atelier.params import load_params
    from atelier.registry import sign_now
    from atelier.review.report import gather, render_report
    from atelier.ui.outputs import default_output, refuse_overwriting, write_output

    registry = open_registry()
    path = output or default_output(registry.project, "report.html")
    refuse_overwriting(registry.project, path)
    history = gather(registry, load_params(registry.project.params_file))
    write_output(registry.project, path, render_report(history, sign_now()["at"]).encode())
    print(path)


COMMANDS = (history, lineage, reproduce, compare, card, report)
