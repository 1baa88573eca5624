"""The stage that shows a dataset: contact sheets, histograms and the quarantine, in MLflow."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atelier.data.splits import SPLITS
from atelier.data.store import LOCAL_NOTES, read_dataset
from atelier.data.versions.dvc import data_md5
from atelier.project import Project
from atelier.registry import Registry

log = logging.getLogger("atelier")
EXPERIMENT = "datasets"


def describe(project: Project, name: str, flow_run_id: str) -> dict[str, bytes]:
    """Log a picture of `data/<name>` to MLflow, once for each version.

    Returns:
        The pictures by title, as PNG; empty if this version was described before.
    """
    from atelier.data.ingest.portrait import contact_sheet, histograms

    registry = Registry(project)
    dataset = read_dataset(project.root, name)
    fingerprint = f"{name}:{dataset.digest}"
    if registry.runs.finished(EXPERIMENT, fingerprint):
        return {}
    md5 = data_md5(project.root) or ""
    tags = {
        "dataset": name,
        "data.digest": dataset.digest,
        "data.md5": md5,
        "prefect.flow_run_id": flow_run_id,
    }
    run_id = registry.runs.start(EXPERIMENT, fingerprint, tags, kind="dataset")
    sheets = {split: contact_sheet(dataset, split) for split in SPLITS}
    pictures: dict[str, Any] = {
        title: sheet for title, sheet in sheets.items() if sheet is not None
    }
    pictures["histograms"] = histograms(dataset)
    notes = _notes(project.root / "data" / name)
    if "quarantine.png" in notes:
        pictures["quarantine"] = notes.pop("quarantine.png")
    files = {f"{title}.png": picture for title, picture in pictures.items()}
    described = {
        "counts": dataset.info.counts,
        "quarantined": dataset.quarantined,
        "params": dataset.params,
    }
    registry.runs.log_files(
        run_id, "", {**files, **notes, "dataset.json": json.dumps(described, indent=2)}
    )
    registry.runs.log_input(run_id, name, md5, "ingest", dataset.info.counts)
    log_counts = {f"images/{split}": float(count) for split, count in dataset.info.counts.items()}
    run_log = registry.run_log(run_id)
    run_log.metrics(0, {**log_counts, "quarantined": float(dataset.num_quarantined)})
    run_log.flush()
    registry.runs.end(run_id, "FINISHED")  # last: a killed description is made again
    log.info("%s  described in MLflow, experiment %s", name, EXPERIMENT)
    return {title: _png(picture) for title, picture in pictures.items()}


def _notes(folder: Path) -> dict[str, Any]:
    """Notes of the last ingest, if it was on this machine.

    names.csv stays here: it can be large, and private.
    """
    notes: dict[str, Any] = {}
    for name in LOCAL_NOTES:
        if name == "names.csv" or not (folder / name).exists():
            continue
        if name.endswith(".png"):
            notes[name] = np.asarray(Image.open(folder / name))
        else:
            notes[name] = (folder / name).read_text(encoding="utf-8")
    return notes


def _png(pixels_HWC: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
