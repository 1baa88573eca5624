"""The stage that brings `data/<name>` to what the source holds: read, validate, split, store."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from atelier.data.pictures import Rejected
from atelier.data.sources import open_source, source_digest, source_names
from atelier.data.splits import Split
from atelier.data.staging import building, swap_in
from atelier.data.store import StoredDataset, is_stored, read_dataset
from atelier.data.writer import spool_images, write_dataset, write_quarantine
from atelier.errors import DataError
from atelier.params import Dataset

log = logging.getLogger("atelier")

State = Literal["fresh", "stale", "missing"]


@dataclass(frozen=True)
class DatasetRecord:
    """What an ingest left behind."""

    name: str
    digest: str  # identity of the dataset's version
    num_images: dict[Split, int]
    num_quarantined: int
    changed: bool  # False: data/<name> held exactly this already, and was left alone


def ingest(project_root: Path, name: str, dataset: Dataset) -> DatasetRecord:
    """Store the source's pictures as `data/<name>`; equal input gives equal bytes and then nothing is written.

    Raises:
        DataError: if the source can't be read, too much of it is unusable, or the project can't be written to; what
            was stored before is untouched.
    """
    try:
        with building(project_root, name) as new, tempfile.TemporaryFile(dir=new.parent) as spool:
            digest = source_digest(project_root, dataset)  # before reading: what changes meanwhile is stale next time
            source = open_source(project_root, dataset)
            rows, rejected = spool_images(source.items, dataset, spool)
            _refuse_too_many(project_root, name, dataset, len(rows), rejected)
            write_dataset(new, dataset, source, digest, rows, rejected, spool)
            changed = swap_in(project_root, name, new)
    except OSError as error:
        raise DataError(
            f"data/{name} can't be written: {error}. What was stored before is untouched. Make room, then run again."
        ) from None
    stored = read_dataset(project_root, name)
    counts = ", ".join(f"{count:,} {split}" for split, count in stored.info.counts.items())
    log.info(
        "%s  ingested: %s, %d quarantined%s", name, counts, stored.num_quarantined, "" if changed else "; as before"
    )
    return DatasetRecord(name, stored.digest, stored.info.counts, stored.num_quarantined, changed)


def dataset_state(project_root: Path, name: str, dataset: Dataset) -> tuple[State, list[str]]:
    """Whether `data/<name>` is what the parameters and the source ask for, and if not, why; reads no pixels.

    A folder that is not here (a fresh clone after `dvc pull`) does not make stored data stale; the reason says it.
    """
    if not is_stored(project_root, name):
        return "missing", ["not ingested yet"]
    try:
        stored = read_dataset(project_root, name)
    except DataError as error:
        return "stale", [f"data: {error}"]
    asked = dataset.model_dump(mode="json", exclude={"path"})
    reasons = [
        f"params: {key} {stored.params.get(key)} -> {value}"
        for key, value in asked.items()
        if stored.params.get(key) != value
    ]
    try:
        if source_digest(project_root, dataset) != stored.source_digest:
            reasons.append(f"data: the source changed ({_difference(project_root, dataset, stored)})")
    except DataError as error:
        if not reasons:
            return "fresh", [f"the stored version is used; the source is not here: {error}"]
    return ("stale" if reasons else "fresh"), reasons


def _refuse_too_many(
    project_root: Path, name: str, dataset: Dataset, num_images: int, rejected: Sequence[Rejected]
) -> None:
    table = project_root / ".atelier" / f"quarantine-{name}.csv"
    if num_images and len(rejected) <= dataset.max_quarantined * (num_images + len(rejected)):
        table.unlink(missing_ok=True)  # of an earlier refusal
        return
    if not num_images and not rejected:
        raise DataError(f"datasets.{name}: the source {dataset.path} holds no files. Put pictures there.")
    write_quarantine(table, rejected)
    first = "\n".join(f"  {item.name}: {item.reason}" for item in rejected[:5])
    share = len(rejected) / (num_images + len(rejected))
    raise DataError(
        f"datasets.{name}: {len(rejected)} of {num_images + len(rejected)} files are unusable ({share:.1%}), more than "
        f"max_quarantined = {dataset.max_quarantined:.1%} allows; nothing was changed. The first ones:\n{first}\n"
        f"All are listed in {table}. Repair or remove them, or raise datasets.{name}.max_quarantined."
    )


def _difference(project_root: Path, dataset: Dataset, stored: StoredDataset) -> str:
    now, then = source_names(project_root, dataset), stored.names()
    if now is None:
        return "another edition"
    added, removed = len(now - then), len(then - now)
    return f"{added} files added, {removed} removed" if added or removed else "contents of known files"
