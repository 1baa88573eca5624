"""Decisions become entries of the ledger, and the moves of aliases that these say.

A decision that was killed half-way is completed by whatever command comes next (`settle`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from atelier.errors import UsageError
from atelier.promotion.drift import CLOSED, LOST, adrift, is_lost
from atelier.registry import CHALLENGER, CHAMPION, PREVIOUS, START, Decision, Entry, Registry, Version, signed_now

log = logging.getLogger("atelier")


@dataclass(frozen=True)
class Proposal:
    """A decision that was not carried out yet.

    Attributes:
        decision: what is to be.
        head: hash of the newest entry of the ledger when it was made: it holds for that state alone.
    """

    decision: Decision
    head: str


def proposal_of(
    registry: Registry, version: Version, action: str, reasons: tuple[str, ...], flow_run_id: str = ""
) -> Proposal:
    """What an action about a version makes of the aliases as they are now."""
    entries = registry.ledger.entries(version.model)
    versions = registry.versions(version.model)
    champion, previous, challenger = (
        next((found.number for found in versions if alias in found.aliases), None)
        for alias in (CHAMPION, PREVIOUS, CHALLENGER)
    )
    before = champion
    if action in ("promoted", "approved", "rolled back"):
        champion, previous = version.number, champion if champion is not None else previous
        previous = None if previous == champion else previous
    if action == "rejected" and champion == version.number:
        champion = None
    if version.number == challenger and action not in ("kept", "waiting"):
        challenger = None
    decision = Decision(
        version.model, action, version.number, reasons, before, champion, previous, challenger, **signed_now(),
        flow_run_id=flow_run_id, runs=_runs_of(versions, {before, champion, previous, challenger, version.number}),
    )  # fmt: skip
    return Proposal(decision, entries[-1].hash if entries else START)


def _runs_of(versions: Sequence[Version], numbers: set[int | None]) -> dict[str, str]:
    """The run of each of some versions, by its number as a string."""
    return {str(version.number): version.run_id for version in versions if version.number in numbers}


def commit(registry: Registry, proposal: Proposal) -> Decision:
    """Carry out a decision.

    Raises:
        UsageError: if another one came first.
        RegistryError: if the ledger can't be trusted.
    """
    with registry.ledger.lock():
        _carry_out(registry, registry.ledger.append(proposal.decision, proposal.head))
    return proposal.decision


def settle(registry: Registry, model: str) -> None:
    """Complete a decision that was killed half-way, and close the ledger of a model that was made anew.

    Raises:
        RegistryError: if the ledger can't be trusted.
    """
    with registry.ledger.lock():
        entries = registry.ledger.entries(model)
        for entry in [entry for entry in entries if entry.is_open]:
            decision = entry.decision
            log.warning("%s  completes an interrupted decision: %s %d", model, decision.action, decision.version)
            if entry is entries[-1]:
                _carry_out(registry, entry)
            else:  # what it was about has been decided again since
                registry.ledger.close(entry)
        if is_lost(entries, registry.versions(model)):
            log.warning("%s  %s", model, LOST)
            _carry_out(registry, registry.ledger.append(_closing(registry, entries[-1]), entries[-1].hash))


def begin_again(registry: Registry, model: str, reason: str) -> Decision:
    """Start another ledger for a model whose own is gone as a whole; the aliases stay as they are.

    Raises:
        UsageError: if there are entries of its ledger, or there never were any.
    """
    versions = registry.versions(model)
    if not versions:
        raise UsageError(f"{model} has no version, and so nothing that a ledger could be about.")
    numbers = {alias: version.number for version in versions for alias in version.aliases}
    champion, previous = numbers.get(CHAMPION), numbers.get(PREVIOUS)
    runs = _runs_of(versions, {*numbers.values()})
    said = (f"the ledger was lost, and is begun again by hand: {reason}",)
    decision = Decision(
        model, CLOSED, champion or versions[-1].number, said, champion, champion, previous, numbers.get(CHALLENGER),
        **signed_now(), runs=runs,
    )  # fmt: skip
    with registry.ledger.lock():
        registry.ledger.close(registry.ledger.append_first(decision))
    return decision


def drift(registry: Registry, model: str) -> list[str]:
    """How the aliases differ from what the ledger says; one sentence each.

    Raises:
        RegistryError: if the ledger can't be trusted.
    """
    return adrift(model, registry.ledger.entries(model), registry.versions(model))


def _closing(registry: Registry, newest: Entry) -> Decision:
    """What ends the chain of versions that are gone; the new ones begin without a champion."""
    about = newest.decision
    challenger = registry.aliased(about.model, CHALLENGER)
    waiting = challenger.number if challenger else None
    runs = _runs_of([challenger] if challenger else [], {waiting})
    return Decision(
        about.model, CLOSED, about.version, (LOST,), about.champion, None, None, waiting, **signed_now(), runs=runs
    )  # fmt: skip


def _carry_out(registry: Registry, entry: Entry) -> None:
    """Make aliases and tags what an entry says; every step may be done twice."""
    decision = entry.decision
    aliases = {CHAMPION: decision.champion, PREVIOUS: decision.previous, CHALLENGER: decision.challenger}
    for alias, number in aliases.items():
        if number is None:
            registry.delete_alias(decision.model, alias)
        else:
            registry.set_alias(decision.model, alias, number)
    there = {version.number: version for version in registry.versions(decision.model)}
    # One that was rolled back because it was deleted isn't there; after a closing another one has its number.
    if decision.version in there and decision.action != CLOSED:
        registry.tag(there[decision.version], _verdict_tags(decision))
    champion = there.get(decision.champion or 0)
    if champion is not None and champion.tags.get("verdict") == "rolled back":  # a second rollback undoes the first
        registry.tag(champion, _verdict_tags(replace(decision, action="promoted")))
    registry.ledger.close(entry)


def _verdict_tags(decision: Decision) -> dict[str, str]:
    """What a version tells of the newest decision about it."""
    return {
        "verdict": "promoted" if decision.action == "approved" else decision.action,
        "verdict.reasons": json.dumps(list(decision.reasons)),
        "verdict.at": decision.at,
        "verdict.by": decision.who,
    }
