"""Whether the aliases of a model are where its ledger says."""

from __future__ import annotations

from collections.abc import Sequence

from atelier.registry import CHAMPION, PREVIOUS, Entry, Version


def adrift(model: str, entries: Sequence[Entry], versions: Sequence[Version]) -> list[str]:
    """How the aliases differ from what the ledger says; one sentence each.

    Args:
        model: the registered model.
        entries: of its ledger, oldest first.
        versions: all that it has, with their aliases.
    """
    if not entries:
        return []
    if entries[-1].is_open:
        decision = entries[-1].decision
        what = f"{model}/{decision.version}: {decision.action}"
        return [f"{what} was interrupted half-way; the next run or promotion of this model completes it"]
    found = []
    for alias, said in ((CHAMPION, entries[-1].decision.champion), (PREVIOUS, entries[-1].decision.previous)):
        is_now = next((version.number for version in versions if alias in version.aliases), None)
        if is_now == said:
            continue
        if said is not None and said not in {version.number for version in versions}:
            found.append(f"{model}/{said} was {alias} and has been deleted; {alias} is {is_now or 'nobody'} now")
        else:
            found.append(f"{alias} of {model} was moved by hand: it is {is_now or 'nobody'}, the ledger says {said}")
    return found
