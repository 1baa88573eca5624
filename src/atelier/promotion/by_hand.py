"""What a person decides about a version; each of these is a proposal, which `commit` carries out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from atelier.errors import RegistryError, UsageError
from atelier.params import Params
from atelier.promotion.aliases import Proposal, proposal_of
from atelier.promotion.drift import counting
from atelier.promotion.judgement import blocking_failures, examine
from atelier.registry import CHAMPION, PREVIOUS, Registry, Version

if TYPE_CHECKING:
    from atelier.project import Project


def propose_promotion(project: Project, params: Params, registry: Registry, version: Version, reason: str) -> Proposal:
    """Promotion on a person's word: it overrides "not proven better", never a blessing.

    Raises:
        UsageError: if it is champion already.
        RegistryError: if it was never evaluated, or a blessing is refused.
    """
    if CHAMPION in version.aliases:
        raise UsageError(f"{version} is the champion already.")
    _refuse_unblessed(project, params, registry, version)
    return proposal_of(registry, version, "promoted", (f"by hand: {reason}",))


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
    return proposal_of(registry, version, "approved", (f"by hand: {reason}",))


def propose_rejection(registry: Registry, version: Version, reason: str) -> Proposal:
    """A person's word that a version is not to become champion, or that one whose run is gone is it no longer.

    Raises:
        UsageError: if it is the champion, or was rejected already.
    """
    if CHAMPION in version.aliases and not registry.why_lost(version):
        raise UsageError(f"{version} is the champion: take it back with `atelier rollback {version.model}`.")
    if version.tags.get("verdict") == "rejected":
        raise UsageError(f"{version} was rejected already.")
    return proposal_of(registry, version, "rejected", (f"by hand: {reason}",))


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
    told = [entry.decision for entry in reversed(counting(registry.ledger.entries(model)))]
    versions = registry.versions(model)
    champion, previous = registry.aliased(model, CHAMPION), registry.aliased(model, PREVIOUS)
    former = [v for decision in told for v in versions if v.number == decision.champion and decision.knows(v)]
    # Where the ledger tells something, an alias that somebody moved is no proof.
    candidates = former if previous is None or (told and previous not in former) else [previous, *former]
    known = [version for version in candidates if version != champion]
    target = next((version for version in known if number in (None, version.number)), None)
    if target is None:
        been = ", ".join(map(str, sorted({version.number for version in known})))
        wanted = "nothing to roll back to" if number is None else f"no version {number} to roll back to"
        raise UsageError(
            f"{model} has {wanted}; versions that were champion before: {been or 'none'}. See `atelier ledger {model}`."
        )
    proposal = proposal_of(registry, target, "rolled back", (reason,))
    deleted = next((decision.champion for decision in told if decision.champion is not None), target.number)
    lost = champion.number if champion else deleted
    return Proposal(replace(proposal.decision, version=lost), proposal.head)


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
