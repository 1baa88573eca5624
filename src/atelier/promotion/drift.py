"""Whether the aliases of a model are where its ledger says, and whether the ledger still is about that model."""

from __future__ import annotations

from collections.abc import Sequence

from atelier.registry import CHAMPION, PREVIOUS, Entry, Version

CLOSED = "closed"  # the action of an entry after which nothing that was decided before counts
LOST = (
    "no version that its ledger tells of is registered any more: the model was deleted in MLflow, "
    "and what is registered now is another one of its name"
)


def counting(entries: Sequence[Entry]) -> list[Entry]:
    """The entries about the model as it is, oldest first: those after the last closing one."""
    closed = [place for place, entry in enumerate(entries) if entry.decision.action == CLOSED]
    return list(entries[closed[-1] + 1 :] if closed else entries)


def is_lost(entries: Sequence[Entry], versions: Sequence[Version]) -> bool:
    """Whether all versions that the entries are about are gone, and others have come."""
    told = [entry.decision for entry in counting(entries)]
    if not told or not versions:
        return False
    return not any(decision.knows(version) for decision in told for version in versions)


def adrift(model: str, entries: Sequence[Entry], versions: Sequence[Version]) -> list[str]:
    """How the aliases differ from what the ledger says; one sentence each.

    Args:
        model: the registered model.
        entries: of its ledger, oldest first.
        versions: all that it has, with their aliases.
    """
    if not entries:
        return []
    decision = entries[-1].decision
    if entries[-1].is_open:
        what = f"{model}/{decision.version}: {decision.action}"
        return [f"{what} was interrupted half-way; the next run or promotion of this model completes it"]
    if is_lost(entries, versions):
        return [f"{model}: {LOST}; the next run or promotion of this model closes it"]
    found = []
    for alias, said in ((CHAMPION, decision.champion), (PREVIOUS, decision.previous)):
        now = next((version for version in versions if alias in version.aliases), None)
        if now is None and said is None or now is not None and now.number == said and decision.knows(now):
            continue
        is_now = now.number if now else "nobody"
        if said is not None and not any(v.number == said and decision.knows(v) for v in versions):
            found.append(f"{model}/{said} was {alias} and has been deleted; {alias} is {is_now} now")
        else:
            found.append(f"{alias} of {model} was moved by hand: it is {is_now}, the ledger says {said}")
    return found
