"""What the `atelier data` commands tell of the working copy and of the versions before it.

As plain JSON types.
"""

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
    found = [_dataset_status(project_root, name, datasets.get(name), snapshot) for name in names]
    md5 = dvc.data_md5(project_root)
    remote: bool | None
    problem = ""
    try:
        remote = dvc.in_remote(project_root)
    except RemoteError as error:
        remote, problem = None, str(error)
    clean = dvc.is_clean(project_root)
    return {
        "md5": md5,
        "clean": clean,
        "in_remote": remote,
        "remote_problem": problem,
        "datasets": found,
    }


def list_versions(project_root: Path) -> list[dict[str, Any]]:
    """The versions in git's history, newest first.

    Before them the working copy, if it is none of them.
    """
    history = commits(project_root)
    known = counts_of(project_root, {commit.md5 for commit in history if commit.md5})
    found = [
        {
            "revision": commit.revision, "date": commit.date, "subject": commit.subject, "md5": commit.md5,
            "size": commit.size, "datasets": known.get(commit.md5 or ""),
        }
        for commit in history
    ]  # fmt: skip
    snapshot = open_snapshot(project_root, NOW)
    md5 = dvc.data_md5(project_root) if dvc.is_clean(project_root) else None
    if snapshot.names and (not history or md5 is None or md5 != history[0].md5):
        sizes = [snapshot.locate(path).stat().st_size for path in snapshot.paths]
        now = {name: snapshot.description(name)["counts"] for name in snapshot.names}
        subject = "the working copy, not committed" if md5 else "the working copy, not tracked"
        row = {
            "revision": NOW,
            "date": None,
            "subject": subject,
            "md5": md5,
            "size": sum(sizes),
            "datasets": now,
        }
        found.insert(0, row)
    return found


def _dataset_status(
    project_root: Path, name: str, dataset: Dataset | None, snapshot: Snapshot
) -> dict[str, Any]:
    state, reasons = (
        dataset_state(project_root, name, dataset)
        if dataset
        else ("unused", ["not in params.yaml"])
    )
    images: dict[str, dict[str, int]] = {}
    quarantined: dict[str, int] = {}
    if name in snapshot.names:
        try:
            images = counts(entries(snapshot, name))
            quarantined = snapshot.description(name).get("quarantined", {})
        except DataError as error:
            reasons = [*reasons, *([str(error)] if not dataset else [])]  # dataset_state said it
    return {
        "name": name,
        "state": state,
        "reasons": reasons,
        "images": images,
        "quarantined": quarantined,
    }
