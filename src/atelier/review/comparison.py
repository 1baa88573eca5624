"""Two versions or runs side by side: parameters, data, code, scores and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atelier.data.versions.changes import Changes
from atelier.data.versions.changes import compare as compare_data
from atelier.data.versions.history import open_snapshot
from atelier.errors import DataError, ProvenanceError, RegistryError, UsageError
from atelier.factory.fingerprint import differences, flatten
from atelier.machine.git import knows
from atelier.registry import Registry, RunRecord
from atelier.review.history import every_version
from atelier.review.pairs import paired_rows, plain_row
from atelier.review.worktree import changed_files

RUN_ID = re.compile(r"[0-9a-f]{32}")
CHANGES = ("added", "removed", "relabelled", "moved")  # of the pictures of a dataset


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        label: the version, or the first digits of a run that is none.
        aliases: of the version.
        run: that trained it.
        inputs: of the training, from its fingerprint.
        evaluation: inputs of the evaluation; empty if there was none.
        scores: of the newest evaluation: {metric: {"value", "low", "high"}}.
    """

    label: str
    aliases: tuple[str, ...]
    run: RunRecord
    inputs: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]]

    def as_json(self) -> dict[str, Any]:
        """What identifies it."""
        tags = self.run.tags
        return {
            "name": self.label,
            "aliases": list(self.aliases),
            "run_id": self.run.run_id,
            "started": self.run.started,
            "git_commit": tags.get("git.commit", ""),
            "data_md5": tags.get("data.md5", ""),
        }


def open_side(registry: Registry, reference: str) -> Side:
    """A version by `name`, `name@alias` or `name/number`, or an MLflow run by its id.

    Raises:
        UsageError: if there is none.
        RegistryError: if the version's run is gone.
    """
    if RUN_ID.fullmatch(reference):
        run_id = reference
        versions = (version for version in every_version(registry) if version.run_id == run_id)
        version = next(versions, None)
    else:
        version = registry.resolve(reference)
        run_id = version.run_id
    run = registry.runs.record(run_id)
    if run is None and version is None:
        raise UsageError(
            f"MLflow has no run {run_id}. "
            "Give a run's id (32 digits), NAME, NAME@ALIAS or NAME/VERSION."
        )
    if run is None:
        raise RegistryError(f"the run of {version}, {run_id}, is gone, so nothing is known of it.")
    return Side(
        label=str(version) if version else f"run {run_id[:8]}",
        aliases=version.aliases if version else (),
        run=run,
        inputs=registry.runs.read_json(run_id, "fingerprint.json") or {},
        evaluation=registry.runs.read_json(run_id, "evaluation/fingerprint.json") or {},
        scores=registry.runs.scores(run_id),
    )


def compare(registry: Registry, a: Side, b: Side) -> dict[str, Any]:
    """Everything in which two versions differ, as plain JSON types; differences are B minus A.

    Raises:
        UsageError: if both are the same.
    """
    if a.run.run_id == b.run.run_id:
        raise UsageError(f"{a.label} and {b.label} are the same run, {a.run.run_id}. Name two.")
    return {
        "a": a.as_json(),
        "b": b.as_json(),
        "params": _params(a, b),
        "data": _data(registry.project.root, a, b),
        "code": _code(registry.project.root, a, b),
        "evaluation": {"differ": _evaluation_differences(a, b), "not_paired": _why_no_pairs(a, b)},
        "metrics": _metrics(registry, a, b),
    }


def _params(a: Side, b: Side) -> list[dict[str, Any]]:
    """Parameters of the trainings as MLflow has them, and of the evaluations."""
    old = _params_of(a)
    new = _params_of(b)
    return [
        {"key": key, "a": old.get(key), "b": new.get(key)}
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]


def _params_of(side: Side) -> dict[str, Any]:
    return {**side.run.params, **flatten(side.evaluation.get("params", {}), "evaluation")}


def _data(root: Path, a: Side, b: Side) -> dict[str, Any]:
    """Datasets by digest; what changed in them where both versions of data/ can be read."""
    old = a.inputs.get("data", {})
    new = b.inputs.get("data", {})
    datasets = [
        {"name": name, "a": old.get(name), "b": new.get(name)} for name in sorted({*old, *new})
    ]
    if old == new:
        return {"datasets": datasets, "problem": ""}
    try:
        sides = [open_snapshot(root, side.run.tags.get("data.md5") or "") for side in (a, b)]
        counts = {change.name: _count_changes(change) for change in compare_data(*sides)}
    except (DataError, UsageError) as error:
        return {"datasets": datasets, "problem": str(error)}
    datasets = [{**dataset, **counts.get(dataset["name"], {})} for dataset in datasets]
    return {"datasets": datasets, "problem": ""}


def _count_changes(change: Changes) -> dict[str, int]:
    return {kind: len(getattr(change, kind)) for kind in CHANGES}


def _diff_between(root: Path, commits: list[str]) -> tuple[str, str]:
    """What changed from one commit to another, or why that can't be said."""
    try:
        unknown = [commit for commit in commits if not commit or not knows(root, commit)]
        if unknown:
            names = " and ".join(commit[:10] or "a commit" for commit in unknown)
            return "", f"git does not know {names}"
        return changed_files(root, *commits), ""
    except ProvenanceError as error:
        return "", str(error)


def _code(root: Path, a: Side, b: Side) -> dict[str, Any]:
    """Modules whose behaviour differs, and what git says about the commits."""
    commits = [side.run.tags.get("git.commit", "") for side in (a, b)]
    diff_stat, problem = _diff_between(root, commits)
    return {
        "modules": _module_changes(a.inputs.get("code", {}), b.inputs.get("code", {})),
        "diff_stat": diff_stat,
        "dirty": [side.run.tags.get("git.dirty") == "true" for side in (a, b)],
        "problem": problem,
    }


def _module_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[dict[str, str]]:
    """The modules whose hashes differ, and how."""
    changes = []
    for file in sorted({*old, *new}):
        if file not in old:
            changes.append({"file": file, "change": "added"})
        elif file not in new:
            changes.append({"file": file, "change": "removed"})
        elif old[file] != new[file]:
            changes.append({"file": file, "change": "changed"})
    return changes


def _evaluation_differences(a: Side, b: Side) -> list[str]:
    """Why two scores may differ although the models don't."""
    for side in (a, b):
        if not side.evaluation:
            return [f"{side.label} was not evaluated"]
    old = dict(a.evaluation)
    new = dict(b.evaluation)
    for inputs in (old, new):
        inputs.pop("compared", None)  # adds a score, and changes none
    return differences(old, new)


def _why_no_pairs(a: Side, b: Side) -> str:
    """Why units of the two evaluations are no pairs; empty if they are."""
    if not a.evaluation or not b.evaluation:
        return "not both were evaluated"
    differing = [
        key for key in ("params", "extractor") if a.evaluation.get(key) != b.evaluation.get(key)
    ]
    return f"the evaluations had another {' and '.join(differing)}" if differing else ""


def _metrics(registry: Registry, a: Side, b: Side) -> list[dict[str, Any]]:
    """Paired differences of what was scored by unit, and plain ones of all other scores."""
    rows = _paired_metrics(registry, a, b)
    paired = {row["metric"] for row in rows}
    for metric in a.scores:
        if metric in b.scores and metric not in paired:
            rows.append(plain_row(metric, a.scores[metric]["value"], b.scores[metric]["value"]))
    return rows


def _paired_metrics(registry: Registry, a: Side, b: Side) -> list[dict[str, Any]]:
    units_a = registry.runs.read_table(a.run.run_id, "evaluation/units.csv")
    units_b = registry.runs.read_table(b.run.run_id, "evaluation/units.csv")
    if _why_no_pairs(a, b) or units_a is None or units_b is None:
        return []
    same_data = a.evaluation.get("data") == b.evaluation.get("data")
    confidence = float(b.evaluation["params"]["confidence"])
    return list(paired_rows(units_a, units_b, same_data, confidence))


def fetch_pictures(
    registry: Registry, a: Side, b: Side
) -> dict[str, tuple[bytes | None, bytes | None]]:
    """The pictures of both evaluations, PNG, by file name."""
    pictures_a = registry.runs.pictures(a.run.run_id)
    pictures_b = registry.runs.pictures(b.run.run_id)
    names = sorted({*pictures_a, *pictures_b})
    return {name: (pictures_a.get(name), pictures_b.get(name)) for name in names}
