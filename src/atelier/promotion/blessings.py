"""What a version needs to become champion: the quality blessing, and nothing that forbids it."""

from __future__ import annotations

from atelier.data.versions import dvc
from atelier.errors import DataError, RegistryError
from atelier.factory import Factory
from atelier.factory.inspect import REPORT as INFRASTRUCTURE
from atelier.params import Gate, Params
from atelier.promotion.gate import Measured, Quality, judge
from atelier.registry import CHAMPION, Registry, Version

QUALITY = "blessings/quality.json"


def quality_blessing(params: Params, registry: Registry, version: Version) -> Quality:
    """Hold a version against the floors, and compare it with today's champion."""
    champion = registry.version_at(version.model, CHAMPION)
    other = None
    if champion is not None and champion.number != version.number:
        refuse_lost(registry, champion)
        other = measurements_of(registry, champion)
    gate = gate_of(params, version.model)
    return judge(gate, params.promotion.alpha, measurements_of(registry, version), other)


def refuse_lost(registry: Registry, champion: Version) -> None:
    """Stop if nothing can be compared with a champion.

    Raises:
        RegistryError: if its run is gone, with the way out.
    """
    lost = registry.explain_loss(champion)
    if lost:
        raise RegistryError(
            f"{champion} is champion, and {lost}: nothing can be compared with it. Bring it back, "
            f"or choose another: atelier rollback {champion.model}, or for none "
            f"atelier reject {champion.model} {champion.number} --reason ..."
        )


def measurements_of(registry: Registry, version: Version) -> Measured:
    """What the last evaluation of a version found.

    Raises:
        RegistryError: if its run is gone.
    """
    units = registry.runs.read_table(version.run_id, "evaluation/units.csv")
    return Measured(str(version), registry.scores(version), units)


def failures_besides_quality(factory: Factory, version: Version) -> list[str]:
    """Why a version can't be champion however good it is: infrastructure, speed, data."""
    failures = []
    gate = gate_of(factory.params, version.model)
    report = factory.registry.runs.read_json(version.run_id, INFRASTRUCTURE)
    if report is None:
        failures.append("the infrastructure blessing is missing: it was never loaded and queried")
    else:
        failures += report["failures"]
        milliseconds = report.get("milliseconds")
        limit = gate.max_milliseconds
        if limit is not None and milliseconds is not None and milliseconds > limit:
            failures.append(
                f"too slow: {milliseconds:.3g} ms for an image of {report['size']} pixels on one "
                f"core; at most {limit:g}"
            )
    unpushed = _why_unpushed(factory, version.tags.get("data.md5", ""))
    if unpushed:
        failures.append(f"unpushed data: {unpushed}")
    return failures


def _why_unpushed(factory: Factory, md5: str) -> str:
    """Why nobody else could get the data that a version was trained on; empty if they can."""
    try:
        if dvc.in_remote(factory.project.root, md5):
            return ""
    except DataError as error:
        return str(error)
    return f"the DVC remote lacks files of {md5 or 'the data it was trained on'}"


def gate_of(params: Params, name: str) -> Gate:
    """What a model of params.yaml has to reach."""
    gate: Gate = getattr(params.promotion, params.models[name].kind)
    return gate
