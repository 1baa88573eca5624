"""Two versions or runs side by side: parameters, data, code, scores by pairs of the same units, and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atelier.data.versions.changes import Changes
from atelier.data.versions.changes import compare as compare_data
from atelier.data.versions.history import open_snapshot
from atelier.errors import DataError, EvaluationError, ProvenanceError, RegistryError, UsageError
from atelier.factory.fingerprint import differences, flatten
from atelier.machine.git import knows
from atelier.metrics.directions import higher_is_better
from atelier.metrics.intervals import mean_interval
from atelier.registry import Registry, RunRecord
from atelier.review.lineage import every_version
from atelier.review.worktree import changed_files

if TYPE_CHECKING:
    import pandas as pd

RUN_ID = re.compile(r"[0-9a-f]{32}")
CONTENT_HASH = re.compile(r"[0-9a-f]{64}")


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
        version = next((item for item in every_version(registry) if item.run_id == run_id), None)
    else:
        version = registry.resolve(reference)
        run_id = version.run_id
    run = registry.runs.record(run_id)
    if run is None and version is None:
        raise UsageError(
            f"MLflow has no run {run_id}. Give a run's id (32 digits), NAME, NAME@ALIAS or NAME/VERSION."
        )
    if run is None:
        raise RegistryError(f"the run of {version}, {run_id}, is gone, so nothing is known of it.")
    return Side(
        str(version) if version else f"run {run_id[:8]}",
        version.aliases if version else (),
        run,
        registry.runs.read_json(run_id, "fingerprint.json") or {},
        registry.runs.read_json(run_id, "evaluation/fingerprint.json") or {},
        registry.runs.scores(run_id),
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
        "evaluation": {"differ": _evaluation_differences(a, b), "not_paired": _not_paired(a, b)},
        "metrics": _metrics(registry, a, b),
    }


def _params(a: Side, b: Side) -> list[dict[str, Any]]:
    """Parameters of the trainings as MLflow has them, and of the evaluations."""
    old, new = (
        {**side.run.params, **flatten(side.evaluation.get("params", {}), "evaluation")}
        for side in (a, b)
    )
    keys = [*old, *(key for key in new if key not in old)]
    return [
        {"key": key, "a": old.get(key), "b": new.get(key)}
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _data(root: Path, a: Side, b: Side) -> dict[str, Any]:
    """Datasets by digest; what changed in them where both versions of data/ can be read."""
    old, new = a.inputs.get("data", {}), b.inputs.get("data", {})
    listed = [
        {"name": name, "a": old.get(name), "b": new.get(name)} for name in sorted({*old, *new})
    ]
    if old == new:
        return {"datasets": listed, "problem": ""}
    try:
        sides = [open_snapshot(root, side.run.tags.get("data.md5") or "") for side in (a, b)]
        changes = {change.name: _counted(change) for change in compare_data(*sides)}
    except (DataError, UsageError) as error:
        return {"datasets": listed, "problem": str(error)}
    return {
        "datasets": [{**item, **changes.get(item["name"], {})} for item in listed],
        "problem": "",
    }


def _counted(change: Changes) -> dict[str, int]:
    return {
        what: len(getattr(change, what)) for what in ("added", "removed", "relabelled", "moved")
    }


def _between(root: Path, commits: list[str]) -> tuple[str, str]:
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
    old, new = a.inputs.get("code", {}), b.inputs.get("code", {})
    changes = {
        file: "added" if file not in old else "removed" if file not in new else "changed"
        for file in old | new
    }
    commits = [side.run.tags.get("git.commit", "") for side in (a, b)]
    diff_stat, problem = _between(root, commits)
    return {
        "modules": [
            {"file": file, "change": what}
            for file, what in sorted(changes.items())
            if old.get(file) != new.get(file)
        ],
        "diff_stat": diff_stat,
        "dirty": [side.run.tags.get("git.dirty") == "true" for side in (a, b)],
        "problem": problem,
    }


def _evaluation_differences(a: Side, b: Side) -> list[str]:
    """Why two scores may differ although the models don't."""
    for side in (a, b):
        if not side.evaluation:
            return [f"{side.label} was not evaluated"]
    compared = {"compared"}  # adds a score, and changes none
    old, new = ({k: v for k, v in side.evaluation.items() if k not in compared} for side in (a, b))
    return differences(old, new)


def _not_paired(a: Side, b: Side) -> str:
    """Why units of the two evaluations are no pairs; empty if they are."""
    if not a.evaluation or not b.evaluation:
        return "not both were evaluated"
    differing = [
        key for key in ("params", "extractor") if a.evaluation.get(key) != b.evaluation.get(key)
    ]
    return f"the evaluations had another {' and '.join(differing)}" if differing else ""


def _metrics(registry: Registry, a: Side, b: Side) -> list[dict[str, Any]]:
    """Paired differences of what was scored by unit, and plain ones of all other scores."""
    tables = [registry.runs.read_table(side.run.run_id, "evaluation/units.csv") for side in (a, b)]
    rows = []
    if not _not_paired(a, b) and tables[0] is not None and tables[1] is not None:
        same_data = a.evaluation.get("data") == b.evaluation.get("data")
        confidence = float(b.evaluation["params"]["confidence"])
        rows = list(paired_rows(tables[0], tables[1], same_data, confidence))
    done = {row["metric"] for row in rows}
    for metric in (name for name in a.scores if name in b.scores and name not in done):
        values = a.scores[metric]["value"], b.scores[metric]["value"]
        plain = {
            "metric": metric,
            "slice": "all",
            "a": values[0],
            "b": values[1],
            "difference": values[1] - values[0],
        }
        rows.append({**plain, "low": None, "high": None, "num_units": None, "better": "untested"})
    return rows


def paired_rows(
    a: pd.DataFrame, b: pd.DataFrame, same_data: bool, confidence: float
) -> Iterator[dict[str, Any]]:
    """Differences B minus A of the units that both have: of all of them, and of each slice.

    Args:
        a: a line for each unit: `unit`, slices (text), metrics (numbers).
        b: the same, of the other one.
        same_data: whether both were scored on the same test data. Units that are images may be compared in any case,
            numbered blocks of images only then.
        confidence: coverage of the intervals, in (0, 1).

    Yields:
        metric, slice, means a and b, difference with its t interval, number of units, and which of the two is better.
    """
    if not same_data and not all(CONTENT_HASH.fullmatch(unit) for unit in a["unit"]):
        return
    joined = a.merge(b, on="unit", suffixes=("_a", "_b"))
    numbers = [
        name
        for name in a.columns
        if name in b.columns and a[name].dtype.kind in "fi" and name != "unit"
    ]
    texts = [name for name in a.columns if name in b.columns and name not in (*numbers, "unit")]
    slices = [("all", joined)]
    slices += [
        (f"{text}:{value}", part) for text in texts for value, part in joined.groupby(f"{text}_b")
    ]
    for name, part in slices:
        for metric in numbers:
            if len(part) >= 2:
                yield _paired(
                    metric,
                    name,
                    part[f"{metric}_a"].to_numpy(),
                    part[f"{metric}_b"].to_numpy(),
                    confidence,
                )


def _paired(metric: str, slice_name: str, a_N: Any, b_N: Any, confidence: float) -> dict[str, Any]:
    score = mean_interval(b_N - a_N, confidence, "paired difference")
    better = "not proven"
    if score.low > 0 or score.high < 0:
        try:
            better = "b" if (score.value > 0) == higher_is_better(metric) else "a"
        except EvaluationError:  # no metric whose direction is known
            better = "different"
    return {
        "metric": metric,
        "slice": slice_name,
        "a": float(a_N.mean()),
        "b": float(b_N.mean()),
        "difference": score.value,
        "low": score.low,
        "high": score.high,
        "num_units": score.num_samples,
        "better": better,
    }


def fetch_pictures(
    registry: Registry, a: Side, b: Side
) -> dict[str, tuple[bytes | None, bytes | None]]:
    """The pictures of both evaluations, PNG, by file name."""
    found = [registry.runs.pictures(side.run.run_id) for side in (a, b)]
    names = sorted({*found[0], *found[1]})
    return {name: (found[0].get(name), found[1].get(name)) for name in names}
