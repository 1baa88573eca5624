"""The gate's decision about a version: its blessings, and whether it is proven better than the champion."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from atelier.card import completed, rendered
from atelier.data.versions import dvc
from atelier.errors import DataError, RegistryError
from atelier.gate import Measured, Quality, judge
from atelier.params import Gate, Params
from atelier.promotion.aliases import commit, proposal_of, settle
from atelier.registry import CHAMPION, Registry, Version

if TYPE_CHECKING:
    from atelier.project import Project

log = logging.getLogger("atelier")

QUALITY, INFRASTRUCTURE = "blessings/quality.json", "blessings/infrastructure.json"


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
    commit(registry, proposal_of(registry, version, action, reasons, flow_run_id))
    log.info("%s  %s: %s", version, action, "; ".join(reasons))
    return action


def examine(params: Params, registry: Registry, version: Version) -> Quality:
    """The quality blessing of a version, and how it compares with today's champion."""
    champion = registry.aliased(version.model, CHAMPION)
    other = None
    if champion is not None and champion.number != version.number:
        _refuse_lost(registry, champion)
        other = measured(registry, champion)
    return judge(gate_of(params, version.model), params.promotion.alpha, measured(registry, version), other)


def require_decidable(registry: Registry, name: str) -> None:
    """Refuse to begin a training whose version could not be judged: of ledger and champion nothing may be lost.

    Raises:
        RegistryError: naming what is lost, and the way out.
    """
    if name not in registry.model_names():
        return
    settle(registry, name)
    champion = registry.aliased(name, CHAMPION)
    if champion is not None:
        _refuse_lost(registry, champion)


def _refuse_lost(registry: Registry, champion: Version) -> None:
    lost = registry.why_lost(champion)
    if lost:
        raise RegistryError(
            f"{champion} is champion, and {lost}: nothing can be compared with it. Bring it back, or choose another: "
            f"atelier rollback {champion.model}, or for none atelier reject {champion.model} {champion.number} "
            "--reason ..."
        )


def measured(registry: Registry, version: Version) -> Measured:
    """What the last evaluation of a version found.

    Raises:
        RegistryError: if its run is gone.
    """
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
        gate, taken = gate_of(params, version.model), found.get("milliseconds")
        if gate.max_milliseconds is not None and taken is not None and taken > gate.max_milliseconds:
            failures.append(
                f"too slow: {taken:.3g} ms for an image of {found['size']} pixels on one core; at most "
                f"{gate.max_milliseconds:g}"
            )
    md5 = version.tags.get("data.md5", "")
    try:
        pushed = dvc.in_remote(project.root, md5)
    except DataError as error:
        failures.append(f"unpushed data: {error}")
    else:
        if not pushed:
            failures.append(f"unpushed data: the DVC remote lacks files of {md5 or 'the data it was trained on'}")
    return tuple(failures)


def gate_of(params: Params, name: str) -> Gate:
    """What a model of params.yaml has to reach."""
    gate: Gate = getattr(params.promotion, params.models[name].kind)
    return gate
