"""Make a registered version again, from its commit, data and parameters, and compare the weights.

The training runs in a process of its own, with the code of a worktree and an MLflow database of its
own, which borrows copies of the versions that it needs: neither the project nor its registry is
changed but for the report.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from atelier.data.versions.recovery import put_version
from atelier.factory.fingerprint import differences
from atelier.factory.provenance import installed_packages
from atelier.registry import Registry, Version
from atelier.review.retraining import PACKAGE, Retraining
from atelier.review.trace import Trace, trace
from atelier.review.weights import compare_weights
from atelier.review.worktree import check_out

log = logging.getLogger("atelier")
IDENTICAL = "bit-identical"
DIFFERENT = "different"
REPORT = "reproduction.json"


def reproduce(registry: Registry, version: Version) -> dict[str, Any]:
    """Train a version again, compare weights and, if they differ, scores.

    The report stays with the version.

    Returns:
        What was found, as plain JSON types; `verdict` is IDENTICAL or DIFFERENT.

    Raises:
        ProvenanceError: if something that it was made of is lost, changed, or doesn't work any
            more.
        DataError: if the data are not what they were.
    """
    trail = trace(registry, version)
    trail.require("run", "code", "params", "environment", "data", "source")
    root = registry.project.root
    commit = version.tags["git.commit"]
    md5 = version.tags["data.md5"]
    with check_out(root, commit, trail.diff) as worktree:
        log.info("%s  commit %s is checked out", version, commit[:10])
        put_version(root, md5, worktree.project)
        log.info("%s  data %s are restored", version, md5[:10])
        again = Retraining(registry, trail, worktree)
        trained = again.train()
        stored_bundle = registry.fetch_bundle(version, worktree.scratch / "stored")
        weights = compare_weights(stored_bundle, again.bundle)
        verdict = IDENTICAL if weights["identical"] else DIFFERENT
        code = "of the commit" if again.own_code else f"of the installed package, {PACKAGE}"
        report: dict[str, Any] = {
            "version": str(version),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "verdict": verdict,
            "weights": weights,
            "inputs_differ": differences(trail.inputs, trained["inputs"]),
            "packages_differ": package_differences(trail.packages, installed_packages()),
            "commit": commit,
            "uncommitted_lines": len(trail.diff.splitlines()),
            "data_md5": md5,
            "code": code,
            "settings": again.settings,
            "scores": {},
            "notes": _notes(trail),
        }
        if not weights["identical"]:
            report["scores"] = again.compare_scores(trained["number"])
    registry.runs.log_files(version.run_id, "", {REPORT: json.dumps(report, indent=2)})
    registry.tag(version, {"reproduced": report["verdict"], "reproduced.at": report["at"]})
    return report


def _notes(trail: Trace) -> list[str]:
    """Why the version may come out different."""
    notes = []
    tags = trail.version.tags
    left_out = tags.get("git.left_out")
    if left_out:
        notes.append(f"The tree was not clean, and these were not stored: {left_out}.")
    elif tags["git.dirty"] == "true" and "git.left_out" not in tags:  # by an Atelier before 0.4
        notes.append(
            "The tree was not clean. Changed files are restored, but not those that git did not "
            "know."
        )
    training = trail.params["models"][trail.version.model]["training"]
    if "minutes" in training:
        notes.append(
            "Its budget was in minutes, which another day become another number of images."
        )
    return notes


def package_differences(before: str, after: str) -> dict[str, list[str | None]]:
    """Packages of two requirements files that differ: {name: [version before, version after]}."""
    old = _parse_requirements(before)
    new = _parse_requirements(after)
    names = sorted(old.keys() | new.keys(), key=str.lower)
    return {
        name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)
    }


def _parse_requirements(text: str) -> dict[str, str]:
    """Versions of packages by their names."""
    versions = {}
    for line in text.splitlines():
        name, version = line.split("==", 1)
        versions[name] = version
    return versions
