"""Who becomes champion: floors hold, and the deciding metric is better than the champion's with intervals apart."""

from __future__ import annotations

import getpass
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from atelier.errors import RegistryError, UsageError
from atelier.metrics.directions import higher_is_better
from atelier.params import Gate
from atelier.params.errors import nearest
from atelier.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry, Version

ScoreTable = Mapping[str, Mapping[str, float]]  # {metric: {"value", "low", "high"}}


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and why.

    Attributes:
        outcome: promoted; kept (the champion stays: no proof that this one is better); rejected (below a floor).
        reasons: sentences for people, never empty.
    """

    outcome: Literal["promoted", "kept", "rejected"]
    reasons: tuple[str, ...]


def judge(gate: Gate, scores: ScoreTable, champion: ScoreTable | None) -> Verdict:
    """Compare a new version with the floors and with the champion; both were scored on the same test images.

    Args:
        gate: metric and floors.
        scores: of the new version.
        champion: scores of the champion, None if there is none.
    """
    if failures := floor_failures(gate, scores):
        return Verdict("rejected", tuple(failures))
    metric = gate.metric
    if not _measured(metric, scores):
        return Verdict("rejected", (f"{metric} was not measured, and it decides promotion",))
    if champion is None:
        return Verdict("promoted", (f"first version; all floors hold; {_shown(metric, scores)}",))
    if not _measured(metric, champion):
        return Verdict("kept", (f"not proven better: the champion's {metric} was not measured",))
    new, old = scores[metric], champion[metric]
    better = new["low"] > old["high"] if higher_is_better(metric) else new["high"] < old["low"]
    comparison = f"{_shown(metric, scores)} against the champion's {_shown(metric, champion)}"
    if better:
        return Verdict("promoted", (f"better, intervals apart: {comparison}",))
    return Verdict("kept", (f"not proven better: {comparison}",))


def floor_failures(gate: Gate, scores: ScoreTable) -> list[str]:
    """One sentence for each floor that doesn't hold; a metric that wasn't measured or isn't a number doesn't hold."""
    failures = []
    for metric, floor in gate.floors.items():
        value = scores.get(metric, {}).get("value", math.nan)
        holds = value >= floor if higher_is_better(metric) else value <= floor
        if math.isnan(value):
            failures.append(f"{metric} was not measured; its floor is {floor:g}")
        elif not holds:
            side = "below" if higher_is_better(metric) else "above"
            failures.append(f"{metric} is {value:.4g}, {side} the floor {floor:g}")
    return failures


def _measured(metric: str, scores: ScoreTable) -> bool:
    return metric in scores and not any(math.isnan(part) for part in scores[metric].values())


def _shown(metric: str, scores: ScoreTable) -> str:
    score = scores[metric]
    return f"{metric} {score['value']:.4g} [{score['low']:.4g}, {score['high']:.4g}]"


def record(registry: Registry, version: Version, verdict: Verdict) -> None:
    """Write the verdict to the version, and move the aliases if it says so."""
    if verdict.outcome == "promoted":
        move_champion(registry, version)
    registry.tag(version, verdict_tags(verdict.outcome, verdict.reasons))


def verdict_tags(outcome: str, reasons: tuple[str, ...]) -> dict[str, str]:
    """The tags that keep a verdict with its version: what, why, when, who."""
    return {
        "verdict": outcome,
        "verdict.reasons": json.dumps(list(reasons)),
        "verdict.at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "verdict.by": getpass.getuser(),
    }


def move_champion(registry: Registry, version: Version) -> None:
    """Make `version` champion and the champion before it `previous`; there is a champion at every moment."""
    champion = registry.aliased(version.model, CHAMPION)
    if champion is not None and champion.number != version.number:
        registry.set_alias(version.model, PREVIOUS, champion.number)
    registry.set_alias(version.model, CHAMPION, version.number)
    if CHALLENGER in version.aliases:
        registry.delete_alias(version.model, CHALLENGER)


def promote_by_hand(registry: Registry, gate: Gate, version: Version, reason: str) -> None:
    """Promote on a person's word; the floors still hold.

    Raises:
        UsageError: if it is champion already.
        RegistryError: if it was never evaluated or fails a floor.
    """
    if CHAMPION in version.aliases:
        raise UsageError(f"{version} is the champion already.")
    scores = registry.scores(version)
    if not scores:
        raise RegistryError(
            f"{version} was never evaluated, so it can't be promoted. `atelier run {version.model}` does."
        )
    if failures := floor_failures(gate, scores):
        raise RegistryError(f"{version} can't be promoted: {'; '.join(failures)}. The floors are in params.yaml.")
    move_champion(registry, version)
    registry.tag(version, verdict_tags("promoted", (f"by hand: {reason}",)))


def rollback(registry: Registry, model: str, reason: str) -> tuple[Version, Version]:
    """Swap `champion` and `previous`; returns (new champion, the version that was rolled back).

    Raises:
        UsageError: if the model isn't registered, or there is nothing to go back to.
    """
    if model not in (known := registry.model_names()):
        raise UsageError(f"no model {model!r} is registered.{nearest(model, known)}")
    champion, previous = registry.aliased(model, CHAMPION), registry.aliased(model, PREVIOUS)
    if champion is None or previous is None:
        missing = CHAMPION if champion is None else PREVIOUS
        raise UsageError(
            f"{model} has no {missing}, so there is nothing to roll back to. See `atelier history {model}`."
        )
    move_champion(registry, previous)
    registry.tag(champion, verdict_tags("rolled back", (reason,)))
    if previous.tags.get("verdict") == "rolled back":  # a second rollback undoes the first
        registry.tag(previous, verdict_tags("promoted", (f"by rollback: {reason}",)))
    return previous, champion
