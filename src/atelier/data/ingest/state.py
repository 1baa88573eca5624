"""Whether a stored dataset is what the parameters and the sources ask for; no pixels are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from atelier.data.ingest.writer import stored_params
from atelier.data.sources.names import escape
from atelier.data.sources.opening import source_digest, source_names
from atelier.data.store import is_stored, local_table, read_dataset
from atelier.errors import DataError
from atelier.params import Dataset

State = Literal["fresh", "stale", "missing"]


def dataset_state(project_root: Path, name: str, dataset: Dataset) -> tuple[State, list[str]]:
    """Whether `data/<name>` is what is asked for, and if not, why.

    A source that is not here (a fresh clone after `dvc pull`) does not make stored data stale.
    The reason says it.
    """
    if not is_stored(project_root, name):
        return "missing", ["not ingested yet"]
    try:
        stored = read_dataset(project_root, name)
    except DataError as error:
        return "stale", [f"data: {error}"]
    params = stored_params(dataset)
    reasons = [
        f"params: {key} {stored.params.get(key)} -> {params[key]}"
        for key in _changed_keys(stored.params, params)
    ]
    try:
        if current_source_digest(project_root, dataset) != stored.source_digest:
            reasons.append(f"data: the source changed ({_difference(project_root, name, dataset)})")
    except DataError as error:
        if not reasons:
            return "fresh", [f"the stored version is used; the source is not here: {error}"]
    if reasons:
        return "stale", reasons
    return "fresh", []


def current_source_digest(project_root: Path, dataset: Dataset) -> str:
    """Identity of what the sources of a dataset hold now.

    Raises:
        DataError: if one can't be found or read.
    """
    return "+".join(source_digest(project_root, source) for source in dataset.sources)


def _changed_keys(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [key for key, value in now.items() if before.get(key) != value]


def _difference(project_root: Path, name: str, dataset: Dataset) -> str:
    """Files added and removed, as far as this machine knows the names that it ingested."""
    tables = [
        *local_table(project_root, name, "quarantine.csv"),
        *local_table(project_root, name, "names.csv"),
    ]
    then = {row[0] for row in tables}
    names = [source_names(project_root, source) for source in dataset.sources]
    if not then or len(names) > 1 or names[0] is None:
        return "another edition"
    now = set(map(escape, names[0]))
    num_added = len(now - then)
    num_removed = len(then - now)
    if num_added or num_removed:
        return f"{num_added} files added, {num_removed} removed"
    return "contents of known files"
