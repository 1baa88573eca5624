"""Who decides: the gate by itself, or a person. A person's decision is a proposal first."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

from atelier.errors import RegistryError, UsageError
from atelier.factory import Factory
from atelier.factory.card import complete_card, render_card
from atelier.promotion.agreement import counting_entries
from atelier.promotion.aliases import Proposal, carry_out, propose, repair_interrupted
from atelier.promotion.blessings import (
    QUALITY,
    failures_besides_quality,
    quality_blessing,
    refuse_lost,
)
from atelier.promotion.gate import Quality
from atelier.registry import CHAMPION, PREVIOUS, Action, Decision, Registry, Version

log = logging.getLogger("atelier")


def let_the_gate_decide(factory: Factory, name: str, number: int, flow_run_id: str = "") -> str:
    """Let the gate judge an evaluated and inspected version unless it has been judged.

    Returns:
        The verdict: promoted; kept (the champion stays, this one is not proven better); waiting
        (for a person's approval); or rejected (a blessing is refused).
    """
    registry = factory.registry
    repair_interrupted(registry, name)
    version = registry.version(name, number)
    if "verdict" in version.tags:
        return version.tags["verdict"]
    quality = quality_blessing(factory.params, registry, version)
    _keep_blessing(registry, version, quality)
    failures = (*quality.failures, *failures_besides_quality(factory, version))
    reasons = failures or quality.reasons
    if failures:
        action = Action.REJECTED
    elif not quality.better:
        action = Action.KEPT
    elif factory.params.promotion.approval == "manual":
        action = Action.WAITING
    else:
        action = Action.PROMOTED
    facts = complete_card(registry, version, action, reasons)
    card = render_card(facts, registry.runs.pictures(version.run_id))
    registry.runs.log_files(version.run_id, "card", card)
    registry.describe(version, card["card.md"])
    carry_out(registry, propose(registry, version, action, reasons, flow_run_id))
    log.info("%s  %s: %s", version, action, "; ".join(reasons))
    return action


def _keep_blessing(registry: Registry, version: Version, quality: Quality) -> None:
    content = json.dumps(quality.as_json(), indent=2)
    registry.runs.log_files(version.run_id, "", {QUALITY: content})
    registry.tag(version, {"blessing.quality": "refused" if quality.failures else "given"})


def require_decidable(registry: Registry, name: str) -> None:
    """Refuse to begin a training whose version could not be judged.

    Raises:
        RegistryError: naming what of ledger and champion is lost, and the way out.
    """
    if name not in registry.model_names():
        return
    repair_interrupted(registry, name)
    champion = registry.version_at(name, CHAMPION)
    if champion is not None:
        refuse_lost(registry, champion)


def propose_promotion(factory: Factory, version: Version, reason: str) -> Proposal:
    """Promotion on a person's word: it overrides "not proven better", never a blessing.

    Raises:
        UsageError: if it is champion already.
        RegistryError: if it was never evaluated, or a blessing is refused.
    """
    if CHAMPION in version.aliases:
        raise UsageError(f"{version} is the champion already.")
    _refuse_unblessed(factory, version)
    return propose(factory.registry, version, Action.PROMOTED, (f"by hand: {reason}",))


def propose_approval(factory: Factory, version: Version, reason: str) -> Proposal:
    """A person's word for what the gate found better (`promotion.approval: manual`).

    Raises:
        UsageError: if it doesn't wait for that.
        RegistryError: if a blessing is refused.
    """
    verdict = version.tags.get("verdict", "not judged")
    if verdict != Action.WAITING:
        command = f"atelier promote {version.model} {version.number} --reason ..."
        raise UsageError(
            f"{version} does not wait for approval: {verdict}. "
            f"`{command}` promotes what the gate did not."
        )
    _refuse_unblessed(factory, version)
    return propose(factory.registry, version, Action.APPROVED, (f"by hand: {reason}",))


def _refuse_unblessed(factory: Factory, version: Version) -> None:
    registry = factory.registry
    if not registry.scores(version):
        raise RegistryError(
            f"{version} was never evaluated, so it can't be promoted. "
            f"`atelier run {version.model}` does."
        )
    quality = quality_blessing(factory.params, registry, version)
    failures = [*quality.failures, *failures_besides_quality(factory, version)]
    if failures:
        raise RegistryError(
            f"{version} can't be promoted: {'; '.join(failures)}. Floors and limits are in "
            f"params.yaml; blessings are given by `atelier run {version.model}`."
        )


def propose_rejection(registry: Registry, version: Version, reason: str) -> Proposal:
    """A person's word against a version, which may be a champion whose run is gone.

    Raises:
        UsageError: if it is the champion, or was rejected already.
    """
    if CHAMPION in version.aliases and not registry.explain_loss(version):
        way = f"take it back with `atelier rollback {version.model}`"
        raise UsageError(f"{version} is the champion: {way}.")
    if version.tags.get("verdict") == Action.REJECTED:
        raise UsageError(f"{version} was rejected already.")
    return propose(registry, version, Action.REJECTED, (f"by hand: {reason}",))


def propose_rollback(registry: Registry, model: str, number: int | None, reason: str) -> Proposal:
    """The way back: to `previous`, or to any version that once was champion.

    Args:
        registry: that holds the model.
        model: its name.
        number: of the version to go back to; None: `previous`, or where that is gone the champion
            before it.
        reason: for the ledger.

    Raises:
        UsageError: if there is nothing to go back to, or that version never was champion.
    """
    entries = counting_entries(registry.ledger.entries(model))
    newest_first = [entry.decision for entry in reversed(entries)]
    candidates = _ways_back(registry, model, newest_first)
    target = _choose(candidates, number)
    if target is None:
        raise UsageError(_why_no_way_back(model, number, candidates))
    proposal = propose(registry, target, Action.ROLLED_BACK, (reason,))
    champion = registry.version_at(model, CHAMPION)
    if champion is not None:
        lost = champion.number
    else:  # the champion was deleted
        lost = _last_champion(newest_first) or target.number
    return Proposal(replace(proposal.decision, version=lost), proposal.head)


def _ways_back(registry: Registry, model: str, newest_first: Sequence[Decision]) -> list[Version]:
    """The versions that can be gone back to, the nearest first."""
    champion = registry.version_at(model, CHAMPION)
    previous = registry.version_at(model, PREVIOUS)
    candidates = _former_champions(newest_first, registry.versions(model))
    # Where the ledger tells something, an alias that somebody moved is no proof.
    is_told = not newest_first or previous in candidates
    if previous is not None and is_told:
        candidates.insert(0, previous)
    return [version for version in candidates if version != champion]


def _former_champions(
    newest_first: Sequence[Decision], versions: Sequence[Version]
) -> list[Version]:
    """The versions that the ledger tells were champion, newest first."""
    champions = []
    for decision in newest_first:
        for version in versions:
            if version.number == decision.champion and decision.knows(version):
                champions.append(version)
    return champions


def _choose(candidates: Sequence[Version], number: int | None) -> Version | None:
    for version in candidates:
        if number is None or version.number == number:
            return version
    return None


def _why_no_way_back(model: str, number: int | None, candidates: Sequence[Version]) -> str:
    wanted = "nothing" if number is None else f"no version {number}"
    numbers = sorted({version.number for version in candidates})
    known = ", ".join(map(str, numbers)) or "none"
    return (
        f"{model} has {wanted} to roll back to; versions that were champion before: {known}. "
        f"See `atelier ledger {model}`."
    )


def _last_champion(newest_first: Sequence[Decision]) -> int | None:
    """The champion that the ledger told of last."""
    for decision in newest_first:
        if decision.champion is not None:
            return decision.champion
    return None
