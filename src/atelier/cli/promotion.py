"""Commands that decide who is champion, and the ledger of all decisions. Every import of weight is inside a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atelier.cli.options import Json, ParamsFile, open_registry, require_known
from atelier.errors import UsageError
from atelier.project import open_project

if TYPE_CHECKING:
    from atelier.factory import Factory
    from atelier.project import Project
    from atelier.promotion import Proposal
    from atelier.registry import Registry, Version

MAX_REASON = 1000  # characters: MLflow cuts longer values
ModelName = Annotated[str, typer.Argument(help="The model's name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
Number = Annotated[
    int | None, typer.Argument(metavar="[VERSION]", help="[default: the challenger]")
]


def promote(
    model: ModelName,
    reason: Reason,
    version: Number = None,
    dry_run: DryRun = False,
    params_file: ParamsFile = None,
) -> None:
    """Make a version champion by hand, also if it isn't proven better; both blessings are needed."""
    from atelier.factory.inspect import inspect
    from atelier.promotion import propose_promotion

    def inspect_and_propose(factory: Factory, candidate: Version, why: str) -> Proposal:
        if factory.registry.scores(candidate):  # else it is refused anyway
            inspect(factory.registry, candidate)  # unless that was done
        return propose_promotion(factory, candidate, why)

    _decide_by_hand(inspect_and_propose, model, version, reason, dry_run, params_file)


def approve(
    model: ModelName,
    reason: Reason,
    version: Number = None,
    dry_run: DryRun = False,
    params_file: ParamsFile = None,
) -> None:
    """Make the version that the gate found better champion, where params.yaml says `approval: manual`."""
    from atelier.promotion import propose_approval

    _decide_by_hand(propose_approval, model, version, reason, dry_run, params_file)


def reject(
    model: ModelName, reason: Reason, version: Number = None, dry_run: DryRun = False
) -> None:
    """Decide that a version, by default the challenger, is not to become champion."""
    from atelier.promotion import propose_rejection

    registry = _settled(open_project(), model)
    found = _challenger(registry, model, version)
    _carry_out(registry, propose_rejection(registry, found, _checked(reason)), dry_run)


def rollback(
    model: ModelName,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", help="[default: the champion before]")
    ] = None,
    reason: Reason = "rolled back",
    dry_run: DryRun = False,
) -> None:
    """Give the title of champion back to a version that had it before."""
    from atelier.promotion import propose_rollback

    registry = _settled(open_project(), model)
    _carry_out(registry, propose_rollback(registry, model, version, _checked(reason)), dry_run)


def ledger(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    as_json: Json = False,
    begin_again: Annotated[
        bool,
        typer.Option(
            "--begin-again", help="Start another one for MODEL, whose own was lost as a whole."
        ),
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; for --begin-again.")] = "",
) -> None:
    """Show every decision about every version, check the chain of hashes, and say where the aliases differ from it."""
    from atelier import promotion
    from atelier.cli.tables.history import print_ledger
    from atelier.ui.tables import print_warnings

    registry = open_registry()
    if model is not None:
        require_known(registry, model)
    if begin_again:
        if model is None:
            raise UsageError(
                "--begin-again needs a MODEL: atelier ledger MODEL --begin-again --reason ..."
            )
        promotion.begin_again(registry, model, _checked(reason))
    names = [model] if model else registry.model_names()
    entries = [entry for name in names for entry in registry.ledger.entries(name)]
    differences = [line for name in names for line in promotion.disagreements(registry, name)]
    if as_json:
        print(
            json.dumps(
                {"entries": [asdict(entry) for entry in entries], "drift": differences}, indent=2
            )
        )
    else:
        print_ledger(entries)
        print_warnings(differences)
    if differences:
        raise typer.Exit(1)


COMMANDS = (promote, approve, reject, rollback, ledger)


def _decide_by_hand(
    propose: Callable[[Factory, Version, str], Proposal],
    model: str,
    number: int | None,
    reason: str,
    dry_run: bool,
    params_file: Path | None,
) -> None:
    """Make champion what a person wants to be."""
    from atelier.factory import Factory
    from atelier.params import load_params
    from atelier.params.errors import nearest

    project, reason = open_project(), _checked(reason)
    params = load_params((params_file or project.params_file).resolve())
    if model not in params.models:
        raise UsageError(
            f"{model!r} is not a model of params.yaml.{nearest(model, list(params.models))}"
        )
    registry = _settled(project, model)
    version = _challenger(registry, model, number)
    factory = Factory(project, params, registry)
    _carry_out(registry, propose(factory, version, reason), dry_run)


def _carry_out(registry: Registry, proposal: Proposal, dry_run: bool) -> None:
    from atelier.promotion import carry_out

    decision = proposal.decision
    if not dry_run:
        carry_out(registry, proposal)
    would = "would be " if dry_run else ""
    print(f"{decision.model}/{decision.version} {would}{decision.action}.")
    champion = f"{decision.model}/{decision.champion}" if decision.champion else "nobody"
    same = "still " if decision.champion == decision.champion_before else ""
    print(
        f"Champion {'would be' if dry_run else 'is'} {same}{champion}; previous: {decision.previous or 'none'}."
    )


def _settled(project: Project, model: str) -> Registry:
    """The registry, with no decision about this model half-done."""
    from atelier.promotion import repair_interrupted

    registry = open_registry(project)
    require_known(registry, model)
    repair_interrupted(registry, model)
    return registry


def _challenger(registry: Registry, model: str, number: int | None) -> Version:
    return (
        registry.version(model, number)
        if number is not None
        else registry.resolve(f"{model}@challenger")
    )


def _checked(reason: str) -> str:
    if not reason.strip() or len(reason) > MAX_REASON:
        raise UsageError(
            f"--reason has {len(reason)} characters: give at least one, and {MAX_REASON} at most."
        )
    return reason
