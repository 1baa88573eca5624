"""Whether the aliases of a model are where its ledger says, and the ledger is about that model."""

from __future__ import annotations

from collections.abc import Sequence

from atelier.registry import CHAMPION, PREVIOUS, Action, Decision, Entry, Version

LOST = (
    "no version that its ledger tells of is registered any more: the model was deleted in MLflow, "
    "and what is registered now is another one of its name"
)


def counting_entries(entries: Sequence[Entry]) -> list[Entry]:
    """The entries about the model as it is, oldest first: those after the last closing one."""
    counting: list[Entry] = []
    for entry in entries:
        if entry.decision.action is Action.CLOSED:
            counting = []
        else:
            counting.append(entry)
    return counting


def is_lost(entries: Sequence[Entry], versions: Sequence[Version]) -> bool:
    """Whether all versions that the entries are about are gone, and others have come."""
    decisions = [entry.decision for entry in counting_entries(entries)]
    if not decisions or not versions:
        return False
    for decision in decisions:
        if any(decision.knows(version) for version in versions):
            return False
    return True


def find_disagreements(
    model: str, entries: Sequence[Entry], versions: Sequence[Version]
) -> list[str]:
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
        return [
            f"{what} was interrupted half-way; the next run or promotion of this model completes it"
        ]
    if is_lost(entries, versions):
        return [f"{model}: {LOST}; the next run or promotion of this model closes it"]
    sentences = []
    for alias, number in ((CHAMPION, decision.champion), (PREVIOUS, decision.previous)):
        sentence = _disagreement(model, alias, number, decision, versions)
        if sentence:
            sentences.append(sentence)
    return sentences


def _disagreement(
    model: str,
    alias: str,
    number: int | None,
    decision: Decision,
    versions: Sequence[Version],
) -> str:
    """How an alias differs from what the newest decision made it; empty if it doesn't."""
    holder = None
    for version in versions:
        if alias in version.aliases:
            holder = version
            break
    if holder is None and number is None:
        return ""
    if holder is not None and holder.number == number and decision.knows(holder):
        return ""
    is_now = holder.number if holder else "nobody"
    exists = any(version.number == number and decision.knows(version) for version in versions)
    if number is not None and not exists:
        return f"{model}/{number} was {alias} and has been deleted; {alias} is {is_now} now"
    return f"{alias} of {model} was moved by hand: it is {is_now}, the ledger says {number}"
