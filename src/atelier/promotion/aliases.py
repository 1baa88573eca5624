"""Decisions become entries of the ledger, and the moves of aliases that these say.

A decision that was killed half-way is completed by whatever command comes next
(`repair_interrupted`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from atelier.errors import UsageError
from atelier.promotion.agreement import LOST, find_disagreements, is_lost
from atelier.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    START,
    Action,
    Decision,
    Entry,
    Registry,
    Version,
    sign_now,
)

log = logging.getLogger("atelier")


@dataclass(frozen=True)
class Proposal:
    """A decision that was not carried out yet.

    Attributes:
        decision: what is to be.
        head: hash of the newest entry of the ledger then: it holds for that state alone.
    """

    decision: Decision
    head: str


def propose(
    registry: Registry,
    version: Version,
    action: Action,
    reasons: tuple[str, ...],
    flow_run_id: str = "",
) -> Proposal:
    """What an action about a version makes of the aliases as they are now."""
    entries = registry.ledger.entries(version.model)
    versions = registry.versions(version.model)
    numbers = _numbers_of_aliases(versions)
    before = numbers.get(CHAMPION)
    champion = before
    previous = numbers.get(PREVIOUS)
    challenger = numbers.get(CHALLENGER)
    if action.crowns:
        champion = version.number
        if before is not None:
            previous = before
        if previous == champion:
            previous = None
    if action is Action.REJECTED and champion == version.number:
        champion = None
    if challenger == version.number and not action.keeps_challenger:
        challenger = None
    named = {before, champion, previous, challenger, version.number}
    decision = Decision(
        model=version.model,
        action=action,
        version=version.number,
        reasons=reasons,
        champion_before=before,
        champion=champion,
        previous=previous,
        challenger=challenger,
        flow_run_id=flow_run_id,
        runs=_runs_of(versions, named),
        **sign_now(),
    )
    return Proposal(decision, entries[-1].hash if entries else START)


def _numbers_of_aliases(versions: Sequence[Version]) -> dict[str, int]:
    numbers = {}
    for version in versions:
        for alias in version.aliases:
            numbers[alias] = version.number
    return numbers


def _runs_of(versions: Sequence[Version], numbers: set[int | None]) -> dict[str, str]:
    """The run of each of some versions, by its number as a string."""
    named = [version for version in versions if version.number in numbers]
    return {str(version.number): version.run_id for version in named}


def carry_out(registry: Registry, proposal: Proposal) -> Decision:
    """Write a decision to the ledger, and move the aliases.

    Raises:
        UsageError: if another one came first.
        RegistryError: if the ledger can't be trusted.
    """
    with registry.ledger.lock():
        entry = registry.ledger.append(proposal.decision, proposal.head)
        _move_aliases(registry, entry)
    return proposal.decision


def repair_interrupted(registry: Registry, model: str) -> None:
    """Complete a decision that was killed half-way, and close the ledger of a model made anew.

    Raises:
        RegistryError: if the ledger can't be trusted.
    """
    with registry.ledger.lock():
        entries = registry.ledger.entries(model)
        for entry in entries:
            if not entry.is_open:
                continue
            decision = entry.decision
            action = f"{decision.action} {decision.version}"
            log.warning("%s  completes an interrupted decision: %s", model, action)
            if entry is entries[-1]:
                _move_aliases(registry, entry)
            else:  # what it was about has been decided again since
                registry.ledger.close(entry)
        if is_lost(entries, registry.versions(model)):
            log.warning("%s  %s", model, LOST)
            newest = entries[-1]
            entry = registry.ledger.append(_closing(registry, newest.decision), newest.hash)
            _move_aliases(registry, entry)


def begin_again(registry: Registry, model: str, reason: str) -> Decision:
    """Start another ledger for a model whose own is gone as a whole; the aliases stay as they are.

    Raises:
        UsageError: if there are entries of its ledger, or there never were any.
    """
    versions = registry.versions(model)
    if not versions:
        raise UsageError(f"{model} has no version, and so nothing that a ledger could be about.")
    numbers = _numbers_of_aliases(versions)
    champion = numbers.get(CHAMPION)
    decision = Decision(
        model=model,
        action=Action.CLOSED,
        version=champion or versions[-1].number,
        reasons=(f"the ledger was lost, and is begun again by hand: {reason}",),
        champion_before=champion,
        champion=champion,
        previous=numbers.get(PREVIOUS),
        challenger=numbers.get(CHALLENGER),
        runs=_runs_of(versions, {*numbers.values()}),
        **sign_now(),
    )
    with registry.ledger.lock():
        registry.ledger.close(registry.ledger.append_first(decision))
    return decision


def disagreements(registry: Registry, model: str) -> list[str]:
    """How the aliases differ from what the ledger says; one sentence each.

    Raises:
        RegistryError: if the ledger can't be trusted.
    """
    return find_disagreements(model, registry.ledger.entries(model), registry.versions(model))


def _closing(registry: Registry, newest: Decision) -> Decision:
    """What ends the chain of versions that are gone; the new ones begin without a champion."""
    challenger = registry.version_at(newest.model, CHALLENGER)
    return Decision(
        model=newest.model,
        action=Action.CLOSED,
        version=newest.version,
        reasons=(LOST,),
        champion_before=newest.champion,
        champion=None,
        previous=None,
        challenger=challenger.number if challenger else None,
        runs={str(challenger.number): challenger.run_id} if challenger else {},
        **sign_now(),
    )


def _move_aliases(registry: Registry, entry: Entry) -> None:
    """Make aliases and tags what an entry says; every step may be done twice."""
    decision = entry.decision
    aliases = {
        CHAMPION: decision.champion,
        PREVIOUS: decision.previous,
        CHALLENGER: decision.challenger,
    }
    for alias, number in aliases.items():
        if number is None:
            registry.delete_alias(decision.model, alias)
        else:
            registry.set_alias(decision.model, alias, number)
    versions = {version.number: version for version in registry.versions(decision.model)}
    # One that was rolled back because it was deleted isn't there; after a closing another one has
    # its number.
    if decision.version in versions and decision.action is not Action.CLOSED:
        registry.tag(versions[decision.version], _verdict_tags(decision))
    champion = versions.get(decision.champion or 0)
    if champion is not None and champion.tags.get("verdict") == Action.ROLLED_BACK:
        # A second rollback undoes the first.
        registry.tag(champion, _verdict_tags(replace(decision, action=Action.PROMOTED)))
    registry.ledger.close(entry)


def _verdict_tags(decision: Decision) -> dict[str, str]:
    """What a version tells of the newest decision about it."""
    return {
        "verdict": str(decision.action.verdict),
        "verdict.reasons": json.dumps(list(decision.reasons)),
        "verdict.at": decision.at,
        "verdict.by": decision.who,
    }
