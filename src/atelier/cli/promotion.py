"""Commands that decide who is champion, and the ledger of all decisions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atelier.cli.options import Json, ParamsFile, open_registry, require_model
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
    """Make a version champion by hand, also if not proven better; both blessings are needed."""
    from atelier.factory.inspect import inspect
    from atelier.promotion import propose_promotion

    factory = _open_factory_to_decide(model, reason, params_file)
    candidate = _version_or_challenger(factory.registry, model, version)
    if factory.registry.scores(candidate):  # else it is refused anyway
        inspect(factory.registry, candidate)  # unless that was done
    _carry_out(factory.registry, propose_promotion(factory, candidate, reason), dry_run)


def approve(
    model: ModelName,
    reason: Reason,
    version: Number = None,
    dry_run: DryRun = False,
    params_file: ParamsFile = None,
) -> None:
    """Make champion what the gate found better, where params.yaml says `approval: manual`."""
    from atelier.promotion import propose_approval

    factory = _open_factory_to_decide(model, reason, params_file)
    candidate = _version_or_challenger(factory.registry, model, version)
    _carry_out(factory.registry, propose_approval(factory, candidate, reason), dry_run)


def reject(
    model: ModelName, reason: Reason, version: Number = None, dry_run: DryRun = False
) -> None:
    """Decide that a version, by default the challenger, is not to become champion."""
    from atelier.promotion import propose_rejection

    registry = _open_registry_to_decide(open_project(), model)
    candidate = _version_or_challenger(registry, model, version)
    _check_reason(reason)
    _carry_out(registry, propose_rejection(registry, candidate, reason), dry_run)


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

    registry = _open_registry_to_decide(open_project(), model)
    _check_reason(reason)
    _carry_out(registry, propose_rollback(registry, model, version, reason), dry_run)


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
    """Show every decision, check the chain of hashes, and say where the aliases differ from it."""
    from atelier import promotion
    from atelier.cli.tables.history import print_ledger
    from atelier.ui.tables import print_warnings

    registry = open_registry()
    if model is not None:
        require_model(registry, model)
    if begin_again:
        if model is None:
            raise UsageError(
                "--begin-again needs a MODEL: atelier ledger MODEL --begin-again --reason ..."
            )
        _check_reason(reason)
        promotion.begin_again(registry, model, reason)
    names = [model] if model else registry.model_names()
    entries = []
    for name in names:
        entries += registry.ledger.entries(name)
    differences: list[str] = []
    for name in names:
        differences += promotion.disagreements(registry, name)
    if as_json:
        answer = {"entries": [asdict(entry) for entry in entries], "drift": differences}
        print(json.dumps(answer, indent=2))
    else:
        print_ledger(entries)
        print_warnings(differences)
    if differences:
        raise typer.Exit(1)


COMMANDS = (promote, approve, reject, rollback, ledger)


def _open_factory_to_decide(model: str, reason: str, params_file: Path | None) -> Factory:
    """The factory, with no decision about this model of params.yaml half-done."""
    from atelier.factory import Factory
    from atelier.params import load_params
    from atelier.params.errors import nearest

    project = open_project()
    _check_reason(reason)
    params = load_params((params_file or project.params_file).resolve())
    if model not in params.models:
        raise UsageError(
            f"{model!r} is not a model of params.yaml.{nearest(model, list(params.models))}"
        )
    return Factory(project, params, _open_registry_to_decide(project, model))


def _open_registry_to_decide(project: Project, model: str) -> Registry:
    """The registry, with no decision about this model half-done."""
    from atelier.promotion import repair_interrupted

    registry = open_registry(project)
    require_model(registry, model)
    repair_interrupted(registry, model)
    return registry


def _carry_out(registry: Registry, proposal: Proposal, dry_run: bool) -> None:
    """Do what was proposed, unless it is a rehearsal, and say it."""
    from atelier.promotion import carry_out

    decision = proposal.decision
    if not dry_run:
        carry_out(registry, proposal)
    would = "would be " if dry_run else ""
    print(f"{decision.model}/{decision.version} {would}{decision.action}.")
    champion = f"{decision.model}/{decision.champion}" if decision.champion else "nobody"
    same = "still " if decision.champion == decision.champion_before else ""
    verb = "would be" if dry_run else "is"
    print(f"Champion {verb} {same}{champion}; previous: {decision.previous or 'none'}.")


def _version_or_challenger(registry: Registry, model: str, number: int | None) -> Version:
    if number is None:
        return registry.resolve(f"{model}@challenger")
    return registry.version(model, number)


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > MAX_REASON:
        raise UsageError(
            f"--reason has {len(reason)} characters: give at least one, and {MAX_REASON} at most."
        )
