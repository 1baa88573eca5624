"""Who is champion: the gate's decisions, people's decisions, and the way back.

Each decision is one entry of the ledger and the moves of aliases that it says. A decision that was killed half-way is
completed by whatever command comes next (`settle`).
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from atelier.card import completed, rendered
from atelier.data import versions as data_versions
from atelier.drift import adrift
from atelier.errors import DataError, RegistryError, UsageError
from atelier.gate import Measured, Quality, judge
from atelier.params import Gate, Params
from atelier.registry import CHALLENGER, CHAMPION, PREVIOUS, START, Decision, Entry, Registry, Version, signed_now

if TYPE_CHECKING:
    from atelier.project import Project

log = logging.getLogger("atelier")

QUALITY, INFRASTRUCTURE = "blessings/quality.json", "blessings/infrastructure.json"


@dataclass(frozen=True)
class Proposal:
    """A decision that was not carried out yet.

    Attributes:
        decision: what is to be.
        head: hash of the newest entry of the ledger when it was made: it holds for that state alone.
    """

    decision: Decision
    head: str


def decide(project: Project, params: Params, name: str, number: int, flow_run_id: str = "") -> str:
    """Let the gate judge an evaluated and inspected version unless it has been judged; returns the verdict.

    Verdicts: promoted; kept (the champion stays, this one is not proven better); waiting (for a person's approval);
    rejected (a blessing is refused).
    """
    registry = Registry(project)
    settle(registry, name)
    version = registry.version(name, number)
    if "verdict" in version.tags:
        return version.tags["verdict"]
    quality = examine(params, registry, version)
    registry.runs.log_files(version.run_id, "", {QUALITY: json.dumps(quality.as_json(), indent=2)})
    registry.tag(version, {"blessing.quality": "refused" if quality.failures else "given"})
    failures = (*quality.failures, *blocking_failures(project, params, registry, version))
    reasons = failures or quality.reasons
    if failures:
        action = "rejected"
    elif not quality.better:
        action = "kept"
    else:
        action = "waiting" if params.promotion.approval == "manual" else "promoted"
    card = rendered(completed(registry, version, action, reasons), registry.runs.pictures(version.run_id))
    registry.runs.log_files(version.run_id, "card", card)
    registry.describe(version, card["card.md"])
    commit(registry, _proposal(registry, version, action, reasons, flow_run_id))
    log.info("%s  %s: %s", version, action, "; ".join(reasons))
    return action


def examine(params: Params, registry: Registry, version: Version) -> Quality:
    """The quality blessing of a version, and how it compares with today's champion."""
    champion = registry.aliased(version.model, CHAMPION)
    other = measured(registry, champion) if champion and champion.number != version.number else None
    return judge(_gate(params, version.model), params.promotion.alpha, measured(registry, version), other)


def measured(registry: Registry, version: Version) -> Measured:
    """What the last evaluation of a version found."""
    units = registry.runs.read_table(version.run_id, "evaluation/units.csv")
    return Measured(str(version), registry.scores(version), units)


def blocking_failures(project: Project, params: Params, registry: Registry, version: Version) -> tuple[str, ...]:
    """Why a version can't be champion however good its pictures are: infrastructure, speed, data."""
    failures = []
    found = registry.runs.read_json(version.run_id, INFRASTRUCTURE)
    if found is None:
        failures.append("the infrastructure blessing is missing: it was never loaded and queried")
    else:
        failures += found["failures"]
        gate, taken = _gate(params, version.model), found.get("milliseconds")
        if gate.max_milliseconds is not None and taken is not None and taken > gate.max_milliseconds:
            failures.append(
                f"too slow: {taken:.3g} ms for an image of {found['size']} pixels on one core; at most "
                f"{gate.max_milliseconds:g}"
            )
    md5 = version.tags.get("data.md5", "")
    try:
        pushed = data_versions.in_remote(project.root, md5)
    except DataError as error:
        failures.append(f"unpushed data: {error}")
    else:
        if not pushed:
            failures.append(f"unpushed data: the DVC remote lacks files of {md5 or 'the data it was trained on'}")
    return tuple(failures)


def propose_promotion(project: Project, params: Params, registry: Registry, version: Version, reason: str) -> Proposal:
    """Promotion on a person's word: it overrides "not proven better", never a blessing.

    Raises:
        UsageError: if it is champion already.
        RegistryError: if it was never evaluated, or a blessing is refused.
    """
    if CHAMPION in version.aliases:
        raise UsageError(f"{version} is the champion already.")
    _refuse_unblessed(project, params, registry, version)
    return _proposal(registry, version, "promoted", (f"by hand: {reason}",))


def propose_approval(project: Project, params: Params, registry: Registry, version: Version, reason: str) -> Proposal:
    """A person's word that what the gate found better becomes champion (`promotion.approval: manual`).

    Raises:
        UsageError: if it doesn't wait for that.
        RegistryError: if a blessing is refused.
    """
    if (verdict := version.tags.get("verdict", "not judged")) != "waiting":
        raise UsageError(
            f"{version} does not wait for approval: {verdict}. `atelier promote {version.model} {version.number} "
            "--reason ...` promotes what the gate did not."
        )
    _refuse_unblessed(project, params, registry, version)
    return _proposal(registry, version, "approved", (f"by hand: {reason}",))


def propose_rejection(registry: Registry, version: Version, reason: str) -> Proposal:
    """A person's word that a version is not to become champion.

    Raises:
        UsageError: if it is the champion, or was rejected already.
    """
    if CHAMPION in version.aliases:
        raise UsageError(f"{version} is the champion: take it back with `atelier rollback {version.model}`.")
    if version.tags.get("verdict") == "rejected":
        raise UsageError(f"{version} was rejected already.")
    return _proposal(registry, version, "rejected", (f"by hand: {reason}",))


def propose_rollback(registry: Registry, model: str, number: int | None, reason: str) -> Proposal:
    """The way back: to `previous`, or to any version that once was champion.

    Args:
        registry: that holds the model.
        model: its name.
        number: of the version to go back to; None: `previous`, or where that is gone the champion before it.
        reason: for the ledger.

    Raises:
        UsageError: if there is nothing to go back to, or that version never was champion.
    """
    entries = registry.ledger.entries(model)
    there = {version.number: version for version in registry.versions(model)}
    champion, previous = registry.aliased(model, CHAMPION), registry.aliased(model, PREVIOUS)
    former = [entry.decision.champion for entry in reversed(entries)]
    candidates = [previous.number if previous else None, *former] if number is None else [number]
    known = {*former, previous.number if previous else None}
    now = champion.number if champion else None
    target = next((there[n] for n in candidates if n in there and n in known and n != now), None)
    if target is None:
        been = ", ".join(str(n) for n in sorted(n for n in known if n is not None and n in there and n != now))
        wanted = "nothing to roll back to" if number is None else f"no version {number} to roll back to"
        raise UsageError(
            f"{model} has {wanted}; versions that were champion before: {been or 'none'}. See `atelier ledger {model}`."
        )
    proposal = _proposal(registry, target, "rolled back", (reason,))
    lost = now if now is not None else next((n for n in former if n is not None), target.number)
    return Proposal(replace(proposal.decision, version=lost), proposal.head)


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
    """Complete a decision that was killed half-way.

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


def drift(registry: Registry, model: str) -> list[str]:
    """How the aliases differ from what the ledger says; one sentence each.

    Raises:
        RegistryError: if the ledger can't be trusted.
    """
    return adrift(model, registry.ledger.entries(model), registry.versions(model))


def _gate(params: Params, name: str) -> Gate:
    gate: Gate = getattr(params.promotion, params.models[name].kind)
    return gate


def _refuse_unblessed(project: Project, params: Params, registry: Registry, version: Version) -> None:
    if not registry.scores(version):
        raise RegistryError(
            f"{version} was never evaluated, so it can't be promoted. `atelier run {version.model}` does."
        )
    failures = [
        *examine(params, registry, version).failures,
        *blocking_failures(project, params, registry, version),
    ]
    if failures:
        raise RegistryError(
            f"{version} can't be promoted: {'; '.join(failures)}. Floors and limits are in params.yaml; blessings are "
            f"given by `atelier run {version.model}`."
        )


def _proposal(
    registry: Registry, version: Version, action: str, reasons: tuple[str, ...], flow_run_id: str = ""
) -> Proposal:
    """What an action about a version makes of the aliases as they are now."""
    entries = registry.ledger.entries(version.model)
    champion, previous, challenger = (
        found.number if (found := registry.aliased(version.model, alias)) else None
        for alias in (CHAMPION, PREVIOUS, CHALLENGER)
    )
    before = champion
    if action in ("promoted", "approved", "rolled back"):
        champion, previous = version.number, champion if champion is not None else previous
        previous = None if previous == champion else previous
    if version.number == challenger and action not in ("kept", "waiting"):
        challenger = None
    decision = Decision(
        version.model, action, version.number, reasons, before, champion, previous, challenger, **signed_now(),
        flow_run_id=flow_run_id,
    )  # fmt: skip
    return Proposal(decision, entries[-1].hash if entries else START)


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
    if decision.version in there:  # one that was rolled back because it was deleted isn't
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
