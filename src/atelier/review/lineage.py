"""What a registered version was made of, and what was made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atelier.errors import ProvenanceError
from atelier.registry import Registry, RunRecord, Version
from atelier.review.history import every_version
from atelier.review.trace import NEEDED_PARAMS, Trace, evaluation_inputs
from atelier.review.worktree import describe_commit


def lineage(registry: Registry, trail: Trace) -> dict[str, Any]:
    """Both directions from a version, as plain JSON types; what is missing, too."""
    version = trail.version
    tags = version.tags
    return {
        "version": str(version),
        "created": version.created,
        "aliases": list(version.aliases),
        "fingerprint": tags.get("fingerprint"),
        "data": _data(trail),
        "code": _code(registry.project.root, trail),
        "params": {
            "sha256": tags.get("params.sha256"),
            "seed": tags.get("seed"),
            "resolved": trail.params,
        },
        "packages": trail.packages.splitlines(),
        "run": _run(version, trail.run),
        "built_from": tags.get("built.from"),
        "evaluation": _evaluation(registry, version),
        "reproduced": tags.get("reproduced"),
        **_descendants(registry, version),
        "missing": [{"link": link, "problem": problem} for link, problem in trail.missing],
    }


def _data(trail: Trace) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = {}
    if trail.run:
        counts = {use.name: dict(use.counts) for use in trail.run.datasets}
    return {
        "md5": trail.version.tags.get("data.md5"),
        "datasets": {
            name: {"digest": digest, "images": counts.get(name, {})}
            for name, digest in trail.inputs.get("data", {}).items()
        },
    }


def _code(root: Path, trail: Trace) -> dict[str, Any]:
    tags = trail.version.tags
    commit = tags.get("git.commit", "")
    return {
        "commit": commit,
        **_describe_commit(root, commit),
        "dirty": tags.get("git.dirty"),
        "left_out": tags.get("git.left_out") or None,
        "uncommitted_lines": len(trail.diff.splitlines()),
        "modules": trail.inputs.get("code", {}),
    }


def _describe_commit(root: Path, commit: str) -> dict[str, str]:
    """Of a commit, what can be had: what can't is among the missing."""
    try:
        return describe_commit(root, commit) if commit else {}
    except ProvenanceError:
        return {}


def _run(version: Version, run: RunRecord | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": version.run_id,
        "status": None,
        "started": None,
        "ended": None,
        "settings": {},
        "prefect_flow_run": version.tags.get("prefect.flow_run_id"),
    }
    if run is not None:
        facts["status"] = run.status
        facts["started"] = run.started
        facts["ended"] = run.ended
        facts["settings"] = {name: run.params.get(name) for name in NEEDED_PARAMS}
    return facts


def _evaluation(registry: Registry, version: Version) -> dict[str, Any]:
    inputs = evaluation_inputs(registry, version)
    return {
        "fingerprint": version.tags.get("evaluation.fingerprint"),
        "extractor": inputs.get("extractor") or None,
        "compared": inputs.get("compared") or None,
        "data": inputs.get("data", {}),
    }


def _descendants(registry: Registry, version: Version) -> dict[str, list[str]]:
    """The versions that were built from this one, and those that were scored with it."""
    built = []
    scored = []
    for other in every_version(registry):
        if other.tags.get("built.from") == str(version):
            built.append(str(other))
        inputs = evaluation_inputs(registry, other)
        if str(version) in (inputs.get("extractor"), inputs.get("compared")):
            scored.append(str(other))
    return {"built_from_it": built, "scored_with_it": scored}
