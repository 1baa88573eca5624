"""The stages that bring `data/<name>` to what its sources hold: read, validate, store.

They exchange files, through a `Workspace`.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atelier.data.ingest import validation
from atelier.data.ingest.notes import Findings, quarantine_sheet, write_quarantine
from atelier.data.ingest.oddities import lost_classes
from atelier.data.ingest.ownership import refuse_foreign_files, refuse_originals
from atelier.data.ingest.predecessor import (
    classes_before,
    intact_images,
    splits_to_keep,
    version_to_keep,
)
from atelier.data.ingest.reading import read_sources
from atelier.data.ingest.refusal import refuse_too_many, refused_table
from atelier.data.ingest.validation import Validated
from atelier.data.ingest.workspace import Workspace
from atelier.data.ingest.writer import write_dataset
from atelier.data.manifest import read_csv
from atelier.data.sources.pictures import Rejected
from atelier.data.splits import SPLITS, Split
from atelier.data.staging import building, swap_in
from atelier.data.store import LOCAL_NOTES, StoredDataset, read_dataset
from atelier.params import Dataset

log = logging.getLogger("atelier")


@dataclass(frozen=True)
class DatasetRecord:
    """What a store left behind."""

    name: str
    digest: str  # identity of the dataset's version
    num_images: dict[Split, int]
    num_quarantined: int
    changed: bool  # False: data/<name> held exactly this already


def read(project_root: Path, name: str, dataset: Dataset) -> Path:
    """Read all sources of a dataset into a working folder, which is returned.

    Raises:
        DataError: if a source can't be read, the project can't be written to, or originals would
            be overwritten.
    """
    refuse_originals(project_root, name, dataset)
    workspace = Workspace.of(project_root, name)
    with workspace.explain_failures(name):
        workspace.begin()
        intact = intact_images(version_to_keep(project_root, name, dataset))
        read_sources(project_root, name, dataset, intact, workspace)
    return workspace.folder


def validate(project_root: Path, name: str, dataset: Dataset, folder: Path) -> Findings:
    """Compare what `read` found with each other and with the stored version.

    The originals stay as they are.

    Raises:
        DataError: if too much of the dataset is unusable; a table that the message names lists it.
    """
    workspace = Workspace(folder)
    reading = workspace.load_reading()
    before = version_to_keep(project_root, name, dataset)
    with workspace.explain_failures(name), workspace.open_pixels(before) as pixels:
        splits = splits_to_keep(before, dataset)
        means = before.manifest.means if before else np.empty(0)
        validated = validation.validate(reading.candidates, splits, dataset, pixels, means)
        quarantined = [*reading.rejected, *validated.quarantined]
        lost = lost_classes(classes_before(project_root, name), validated.accepted)
        warnings = [*reading.warnings, *lost, *validated.warnings]
        table = workspace.quarantine
        findings = _findings(name, validated, quarantined, warnings, before, table)
        candidates = {candidate.name: candidate for candidate in reading.candidates}
        write_quarantine(table, quarantined)
        workspace.write_notes(findings.page(), quarantine_sheet(quarantined, candidates, pixels))
        workspace.write_selection(validated.accepted)
        num_accepted = len(validated.accepted)
        refuse_too_many(project_root, name, dataset, num_accepted, quarantined, table)
    for warning in findings.warnings:
        log.warning("%s  %s", name, warning)
    return findings


def quarantine_rows(project_root: Path, name: str, folder: Path) -> list[dict[str, str]]:
    """The quarantine table that `validate` left, also where it refused; empty if there is none."""
    for table in (Workspace(folder).quarantine, refused_table(project_root, name)):
        if table.exists():
            header, *rows = read_csv(table.read_bytes())
            return [dict(zip(header, row, strict=True)) for row in rows]
    return []


def store(
    project_root: Path, name: str, dataset: Dataset, folder: Path, findings: Findings
) -> DatasetRecord:
    """Write what was accepted as `data/<name>`.

    Equal input gives equal bytes, and then nothing is written.

    Raises:
        DataError: if the project can't be written to; what was stored before is untouched.
    """
    workspace = Workspace(folder)
    reading = workspace.load_reading()
    accepted = workspace.load_selection()
    before = version_to_keep(project_root, name, dataset)
    described = {"source_digest": reading.source_digest, "quarantined": findings.quarantined}
    with workspace.explain_failures(name):
        with workspace.open_pixels(before) as pixels, building(project_root, name) as new:
            write_dataset(new, dataset, accepted, reading.class_names, before, pixels, described)
            workspace.copy_notes(new)
            refuse_foreign_files(project_root / "data" / name)  # put there since `read` looked
            changed = swap_in(project_root, name, new, LOCAL_NOTES)
        shutil.rmtree(folder)
    stored = read_dataset(project_root, name)
    _log_counts(stored, changed)
    return DatasetRecord(name, stored.digest, stored.info.counts, stored.num_quarantined, changed)


def _log_counts(stored: StoredDataset, changed: bool) -> None:
    counts = ", ".join(f"{count:,} {split}" for split, count in stored.info.counts.items())
    ending = "" if changed else "; as before"
    line = "%s  ingested: %s, %d quarantined%s"
    log.info(line, stored.name, counts, stored.num_quarantined, ending)


def _findings(
    name: str,
    validated: Validated,
    quarantined: Sequence[Rejected],
    warnings: Sequence[str],
    before: StoredDataset | None,
    table: Path,
) -> Findings:
    stored = set(before.manifest.sha256) if before else set()
    counts = Counter(picture.split for picture in validated.accepted)
    num_new = sum(picture.candidate.sha256 not in stored for picture in validated.accepted)
    reasons = dict(sorted(Counter(picture.reason for picture in quarantined).items()))
    accepted = {split: counts[split] for split in SPLITS}
    return Findings(name, accepted, num_new, reasons, tuple(warnings), table)
