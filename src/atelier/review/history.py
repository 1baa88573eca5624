"""The history of versions, as `atelier history` tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atelier.registry import Registry, Version
from atelier.registry.records import explain_loss, reasons_in, scores_in


def every_version(registry: Registry) -> Iterator[Version]:
    """All versions of all models, by name, oldest first."""
    for name in registry.model_names():
        yield from registry.versions(name)


def history_entry(registry: Registry, version: Version) -> dict[str, Any]:
    """One version as plain JSON types."""
    tags = version.tags
    record = registry.runs.record(version.run_id)
    metrics = scores_in(record.metrics) if record else {}
    reasons = list(reasons_in(tags))
    loss = explain_loss(record, version.run_id)
    if loss:
        reasons.append(loss)
    return {
        "model": version.model,
        "version": version.number,
        "aliases": list(version.aliases),
        "created": version.created,
        "metrics": metrics,
        "verdict": tags.get("verdict"),
        "reasons": reasons,
        "fingerprint": tags.get("fingerprint"),
        "git_commit": tags.get("git.commit"),
        "data_md5": tags.get("data.md5"),
        "built_from": tags.get("built.from"),
        "run_id": version.run_id,
    }
