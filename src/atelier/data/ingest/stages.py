"""The stages that bring `data/<name>` to what its sources hold: read, validate, store. They exchange files."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atelier.data.ingest import validation
from atelier.data.ingest.notes import Findings, quarantine_sheet, write_quarantine
from atelier.data.ingest.oddities import lost_classes
from atelier.data.ingest.ownership import refuse_foreign_files, refuse_originals
from atelier.data.ingest.reading import load_reading, read_sources, spooled_pixels
from atelier.data.ingest.refusal import refuse_too_many, refused_table
from atelier.data.ingest.validation import Accepted, Validated
from atelier.data.ingest.writer import stored_params, write_dataset
from atelier.data.manifest import NO_LABEL, read_csv, write_csv
from atelier.data.sources.names import shown
from atelier.data.sources.opening import source_digest, source_names
from atelier.data.sources.pictures import ELSEWHERE, Candidate, Rejected, content_hash
from atelier.data.splits import SPLITS, Split
from atelier.data.staging import building, swap_in
from atelier.data.store import (
    LOCAL_NOTES,
    StoredDataset,
    is_stored,
    local_table,
    open_version,
    read_dataset,
)
from atelier.errors import DataError
from atelier.params import Dataset

log = logging.getLogger("atelier")

State = Literal["fresh", "stale", "missing"]
# What the pixels of a stored image depend on besides the picture; when it changes, everything is written anew.
FORM = ("image_size", "channels", "fit")
FRACTIONS = (
    "test_fraction",
    "validation_fraction",
)  # when one of them changes, new splits are what is asked for


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
    folder = project_root / ".atelier" / "tmp" / f"read-{name}"
    with _explained(name, folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir(parents=True)
        before = _stored_before(project_root, name, dataset)
        read_sources(project_root, name, dataset, _intact(before) if before else (), folder)
    return folder


def validate(project_root: Path, name: str, dataset: Dataset, folder: Path) -> Findings:
    """Compare what `read` found with each other and with the stored version; the originals stay as they are.

    Raises:
        DataError: if too much of the dataset is unusable; all of it is listed in a table that the message names.
    """
    reading, before = load_reading(folder), _stored_before(project_root, name, dataset)
    with _explained(name, folder), _pixels(folder, before) as pixels:
        means = before.manifest.means if before else np.empty(0)
        validated = validation.validate(
            reading.candidates, _splits(before, dataset), dataset, pixels, means
        )
        quarantined = [*reading.rejected, *validated.quarantined]
        lost = lost_classes(_classes_before(project_root, name), validated.accepted)
        warnings = [*reading.warnings, *lost, *validated.warnings]
        findings = _findings(name, validated, quarantined, warnings, before, folder)
        write_quarantine(findings.table, quarantined)
        refuse_too_many(
            project_root, name, dataset, len(validated.accepted), quarantined, findings.table
        )
        (folder / "validation.md").write_text(findings.page(), encoding="utf-8")
        picture = quarantine_sheet(
            quarantined, {item.name: item for item in reading.candidates}, pixels
        )
        if picture is not None:
            Image.fromarray(picture).save(folder / "quarantine.png")
        kept = [(*item.candidate, item.split) for item in validated.accepted]
        (folder / "accepted.json").write_text(json.dumps(kept), encoding="utf-8")
        write_csv(
            folder / "names.csv", ("name", "sha256"), sorted((item[0], item[4]) for item in kept)
        )
    for warning in findings.warnings:
        log.warning("%s  %s", name, warning)
    return findings


def quarantine_rows(project_root: Path, name: str, folder: Path) -> list[dict[str, str]]:
    """The quarantine table that `validate` left, also where it refused; empty if there is none."""
    for table in (folder / "quarantine.csv", refused_table(project_root, name)):
        if table.exists():
            header, *rows = read_csv(table.read_bytes())
            return [dict(zip(header, row, strict=True)) for row in rows]
    return []


def store(
    project_root: Path, name: str, dataset: Dataset, folder: Path, findings: Findings
) -> DatasetRecord:
    """Write what was accepted as `data/<name>`; equal input gives equal bytes, and then nothing is written.

    Raises:
        DataError: if the project can't be written to; what was stored before is untouched.
    """
    reading, before = load_reading(folder), _stored_before(project_root, name, dataset)
    rows = json.loads((folder / "accepted.json").read_text(encoding="utf-8"))
    accepted = [Accepted(Candidate(*row[:-1]), row[-1]) for row in rows]
    with _explained(name, folder):
        with _pixels(folder, before) as pixels, building(project_root, name) as new:
            described = {
                "source_digest": reading.source_digest,
                "quarantined": findings.quarantined,
            }
            write_dataset(new, dataset, accepted, reading.class_names, before, pixels, described)
            for note in LOCAL_NOTES:
                if (folder / note).exists():
                    shutil.copyfile(folder / note, new / note)
            refuse_foreign_files(project_root / "data" / name)  # put there since `read` looked
            changed = swap_in(project_root, name, new, LOCAL_NOTES)
        shutil.rmtree(folder)
    stored = read_dataset(project_root, name)
    counts = ", ".join(f"{count:,} {split}" for split, count in stored.info.counts.items())
    log.info(
        "%s  ingested: %s, %d quarantined%s",
        name,
        counts,
        stored.num_quarantined,
        "" if changed else "; as before",
    )
    return DatasetRecord(name, stored.digest, stored.info.counts, stored.num_quarantined, changed)


def dataset_state(project_root: Path, name: str, dataset: Dataset) -> tuple[State, list[str]]:
    """Whether `data/<name>` is what the parameters and the sources ask for, and if not, why; reads no pixels.

    A source that is not here (a fresh clone after `dvc pull`) does not make stored data stale; the reason says it.
    """
    if not is_stored(project_root, name):
        return "missing", ["not ingested yet"]
    try:
        stored = read_dataset(project_root, name)
    except DataError as error:
        return "stale", [f"data: {error}"]
    asked = stored_params(dataset)
    reasons = [
        f"params: {key} {stored.params.get(key)} -> {asked[key]}"
        for key in _differing(stored.params, asked)
    ]
    try:
        if current_source_digest(project_root, dataset) != stored.source_digest:
            reasons.append(f"data: the source changed ({_difference(project_root, name, dataset)})")
    except DataError as error:
        if not reasons:
            return "fresh", [f"the stored version is used; the source is not here: {error}"]
    return ("stale" if reasons else "fresh"), reasons


def _stored(project_root: Path, name: str) -> StoredDataset | None:
    """The stored version; None if there is none, or it is damaged or of a newer format: all is written anew."""
    if not is_stored(project_root, name):
        return None
    try:
        return open_version(name, lambda file: project_root / "data" / name / file)
    except DataError:
        return None


def _stored_before(project_root: Path, name: str, dataset: Dataset) -> StoredDataset | None:
    """The stored version, if its pixels have the form that is asked for: then they are kept, not written again."""
    stored = _stored(project_root, name)
    if stored is None:
        return None
    asked = stored_params(dataset)
    same_form = all(stored.params.get(key, asked[key]) == asked[key] for key in FORM)
    return stored if same_form else None


def _classes_before(project_root: Path, name: str) -> Counter[str]:
    """How many pictures of each class the stored version has."""
    stored = _stored(project_root, name)
    if stored is None:
        return Counter()
    return Counter(
        stored.info.class_names[label]
        for label in stored.manifest.labels.tolist()
        if label != NO_LABEL
    )


def _intact(stored: StoredDataset) -> set[str]:
    """Content hashes of the images whose stored pixels are what they should be; the others are written anew."""
    images = stored.all_images()
    return {
        sha256
        for row, sha256 in enumerate(stored.manifest.sha256)
        if content_hash(images[row]) == sha256
    }


def _splits(before: StoredDataset | None, dataset: Dataset) -> dict[str, Split]:
    """An image keeps its split for ever, unless other fractions are asked for."""
    if before is None or any(before.params[key] != getattr(dataset, key) for key in FRACTIONS):
        return {}
    return dict(zip(before.manifest.sha256, before.manifest.splits, strict=True))


def _findings(
    name: str,
    validated: Validated,
    quarantined: Sequence[Rejected],
    warnings: Sequence[str],
    before: StoredDataset | None,
    folder: Path,
) -> Findings:
    known = set(before.manifest.sha256) if before else set()
    counts = Counter(item.split for item in validated.accepted)
    new = sum(item.candidate.sha256 not in known for item in validated.accepted)
    reasons = dict(sorted(Counter(item.reason for item in quarantined).items()))
    accepted = {split: counts[split] for split in SPLITS}
    return Findings(name, accepted, new, reasons, tuple(warnings), folder / "quarantine.csv")


@contextmanager
def _pixels(
    folder: Path, before: StoredDataset | None
) -> Iterator[Callable[[Candidate], NDArray[np.uint8]]]:
    """Pixels of a candidate: in the spool, or where the stored version has them."""
    stored = before.all_images() if before else None
    places = {sha256: row for row, sha256 in enumerate(before.manifest.sha256)} if before else {}

    def pixels(candidate: Candidate) -> NDArray[np.uint8]:
        if candidate.position != ELSEWHERE:
            return spooled_pixels(spool, candidate)
        assert stored is not None  # `read` looked into the same version
        return stored[places[candidate.sha256]]

    with (folder / "pixels.bin").open("rb") as spool:
        yield pixels


def _differing(before: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    return [key for key, value in asked.items() if before.get(key) != value]


def current_source_digest(project_root: Path, dataset: Dataset) -> str:
    """Identity of what the sources of a dataset hold now.

    Raises:
        DataError: if one can't be found or read.
    """
    return "+".join(source_digest(project_root, source) for source in dataset.sources)


def _difference(project_root: Path, name: str, dataset: Dataset) -> str:
    """Files added and removed, as far as this machine knows the names that it ingested."""
    then = {
        row[0]
        for table in ("quarantine.csv", "names.csv")
        for row in local_table(project_root, name, table)
    }
    names = [source_names(project_root, source) for source in dataset.sources]
    if not then or len(names) > 1 or names[0] is None:
        return "another edition"
    now = set(map(shown, names[0]))
    added, removed = len(now - then), len(then - now)
    return (
        f"{added} files added, {removed} removed" if added or removed else "contents of known files"
    )


@contextmanager
def _explained(name: str, folder: Path) -> Iterator[None]:
    """Turn failures to write into words; whatever fails, the working folder is removed."""
    try:
        yield
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DataError(
            f"data/{name} can't be written: {error}. What was stored before is untouched. Make room, then run again."
        ) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
