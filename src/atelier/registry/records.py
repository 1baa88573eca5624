"""What MLflow knows of one run and of one version, as plain values."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atelier.machine.places import local_path
from atelier.machine.processes import identify

NOTE = "mlflow.note.content"  # of MLflow; Markdown
SCORE_PARTS = {"value": "", "low": ".low", "high": ".high"}


@dataclass(frozen=True)
class Version:
    """One registered version.

    Attributes:
        model: name of the registered model.
        number: its version, from 1.
        run_id: the MLflow run that trained it.
        created: time of registration, ISO 8601, UTC.
        aliases: those that point here.
        tags: fingerprint, data.md5, verdict, ...
    """

    model: str
    number: int
    run_id: str
    created: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.model}/{self.number}"


@dataclass(frozen=True)
class DatasetUse:
    """A dataset that a run used.

    Attributes:
        name: of the dataset.
        md5: the version of data/, as data.dvc names it.
        context: what it was used for: "training" or "evaluation". Of the same version MLflow
            keeps the first use.
        counts: images in each split.
    """

    name: str
    md5: str
    context: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        run_id: of MLflow.
        status: RUNNING, FINISHED, FAILED or KILLED.
        deleted: whether somebody deleted it; MLflow keeps it until `mlflow gc`.
        started: ISO 8601, UTC.
        ended: the same; empty while it runs.
        tags: of the run, without MLflow's own.
        params: as strings, by dotted name.
        metrics: the newest value of each.
        datasets: what it used.
        experiment_id: of the experiment that it belongs to.
        notes: its description, Markdown, a line for each thing that happened.
    """

    run_id: str
    status: str
    deleted: bool
    started: str
    ended: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    datasets: tuple[DatasetUse, ...]
    experiment_id: str
    notes: str


def version_of(registered: Any, aliases: Mapping[str, Any]) -> Version:
    """The record of a version as MLflow's client gives it, with its model's aliases."""
    number = int(registered.version)
    pointing_here = [alias for alias, target in aliases.items() if int(target) == number]
    return Version(
        model=registered.name,
        number=number,
        run_id=str(registered.run_id),
        created=_moment(registered.creation_timestamp),
        aliases=tuple(sorted(pointing_here)),
        tags=dict(registered.tags),
    )


def record_of(run: Any) -> RunRecord:
    """The record of a run as MLflow's client gives it."""
    info = run.info
    data = run.data
    return RunRecord(
        run_id=str(info.run_id),
        status=str(info.status),
        deleted=info.lifecycle_stage == "deleted",
        started=_moment(info.start_time),
        ended=_moment(info.end_time),
        tags={key: value for key, value in data.tags.items() if not key.startswith("mlflow.")},
        params=dict(data.params),
        metrics=dict(data.metrics),
        datasets=tuple(_use_of(dataset_input) for dataset_input in run.inputs.dataset_inputs),
        experiment_id=str(info.experiment_id),
        notes=data.tags.get(NOTE, ""),
    )


def explain_loss(record: RunRecord | None, run_id: str) -> str:
    """Why a run is lost, the beginning of a sentence; empty if it is there."""
    if record is None:
        return f"MLflow has run {run_id} no more (deleted, then `mlflow gc`)"
    if record.deleted:
        return (
            f"run {run_id} was deleted in MLflow "
            f"(until `mlflow gc`: mlflow runs restore --run-id {run_id})"
        )
    return ""


def why_without_files(run: Any) -> str:
    """Why no artifact of an MLflow run can be had; empty if they are there.

    A run may have logged none; one that trained a model to the end has, and carries its parameters.
    """
    folder = local_path(run.info.artifact_uri)
    has_logged = run.info.status == "FINISHED" and "params.sha256" in run.data.tags
    if not has_logged or folder is None or folder.is_dir():
        return ""
    return (
        f"the files of run {run.info.run_id} are lost: there is no folder {folder}. Put it back "
        "from a backup of mlruns/, or from the folder that the project was moved or copied from; "
        "then: atelier adopt, atelier doctor."
    )


def reasons_in(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The reasons of a version's verdict; anybody may edit a tag, and then it is shown as it is."""
    text = tags.get("verdict.reasons", "[]")
    try:
        reasons = json.loads(text)
    except ValueError:
        return (text,)
    return tuple(map(str, reasons)) if isinstance(reasons, list) else (text,)


def scores_in(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The test scores among the metrics of a run: {metric: {"value", "low", "high"}}."""
    scores = {}
    for key in metrics:
        if key.startswith("test/") and f"{key}.low" in metrics:
            parts = {part: metrics[f"{key}{suffix}"] for part, suffix in SCORE_PARTS.items()}
            scores[key.removeprefix("test/")] = parts
    return scores


def process_tags() -> dict[str, str]:
    """What a run says of the process that works on it."""
    process = identify()
    started = repr(process.started)
    return {
        "process.host": process.host,
        "process.pid": str(process.pid),
        "process.started": started,
    }


def _use_of(dataset_input: Any) -> DatasetUse:
    """The use of a dataset as MLflow's client gives it."""
    tags = {tag.key: tag.value for tag in dataset_input.tags}
    dataset = dataset_input.dataset
    counts = json.loads(dataset.profile or "{}")
    return DatasetUse(dataset.name, dataset.digest, tags.get("mlflow.data.context", ""), counts)


def _moment(milliseconds: int | None) -> str:
    """A time as MLflow keeps it, in ISO 8601, UTC; empty if there is none."""
    if not milliseconds:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000))
