"""What the `atelier data` commands tell of the working copy and its versions, as JSON types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atelier.data.ingest.state import dataset_state
from atelier.data.versions import dvc
from atelier.data.versions.changes import counts, entries
from atelier.data.versions.history import NOW, Snapshot, commits, counts_of, open_snapshot
from atelier.errors import DataError, RemoteError
from atelier.params import Dataset


def status(project_root: Path, datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    """Each dataset of the parameters or of `data/`, and where the bytes of `data/` are kept."""
    snapshot = open_snapshot(project_root, NOW)
    names = sorted({*datasets, *snapshot.names})
    states = [_dataset_status(project_root, name, datasets.get(name), snapshot) for name in names]
    md5 = dvc.data_md5(project_root)
    in_remote: bool | None = None
    problem = ""
    try:
        in_remote = dvc.in_remote(project_root)
    except RemoteError as error:
        problem = str(error)
    return {
        "md5": md5,
        "clean": dvc.is_clean(project_root),
        "in_remote": in_remote,
        "remote_problem": problem,
        "datasets": states,
    }


def list_versions(project_root: Path) -> list[dict[str, Any]]:
    """The versions in git's history, newest first.

    Before them the working copy, if it is none of them.
    """
    history = commits(project_root)
    counts_by_md5 = counts_of(project_root, {commit.md5 for commit in history if commit.md5})
    rows: list[dict[str, Any]] = [
        {
            "revision": commit.revision,
            "date": commit.date,
            "subject": commit.subject,
            "md5": commit.md5,
            "size": commit.size,
            "datasets": counts_by_md5.get(commit.md5 or ""),
        }
        for commit in history
    ]
    snapshot = open_snapshot(project_root, NOW)
    md5 = dvc.data_md5(project_root) if dvc.is_clean(project_root) else None
    if snapshot.names and (not history or md5 is None or md5 != history[0].md5):
        rows.insert(0, _working_copy(snapshot, md5))
    return rows


def _working_copy(snapshot: Snapshot, md5: str | None) -> dict[str, Any]:
    sizes = [snapshot.locate(path).stat().st_size for path in snapshot.paths]
    state = "not committed" if md5 else "not tracked"
    return {
        "revision": NOW,
        "date": None,
        "subject": f"the working copy, {state}",
        "md5": md5,
        "size": sum(sizes),
        "datasets": {name: snapshot.description(name)["counts"] for name in snapshot.names},
    }


def _dataset_status(
    project_root: Path, name: str, dataset: Dataset | None, snapshot: Snapshot
) -> dict[str, Any]:
    state: str = "unused"
    reasons = ["not in params.yaml"]
    if dataset:
        state, reasons = dataset_state(project_root, name, dataset)
    images: dict[str, dict[str, int]] = {}
    quarantined: dict[str, int] = {}
    if name in snapshot.names:
        try:
            images = counts(entries(snapshot, name))
            quarantined = snapshot.description(name).get("quarantined", {})
        except DataError as error:
            if not dataset:  # else dataset_state said it
                reasons = [*reasons, str(error)]
    return {
        "name": name,
        "state": state,
        "reasons": reasons,
        "images": images,
        "quarantined": quarantined,
    }
