"""The stage that scores a version, and the champion beside it."""

from __future__ import annotations

import json
import logging
from typing import Any

from atelier.data.versions.dvc import data_md5
from atelier.factory import Factory
from atelier.factory.fingerprint import digest
from atelier.factory.plan import evaluation_differences, versions_to_score
from atelier.factory.scoring import score
from atelier.registry import Version
from atelier.training.device import make_deterministic

log = logging.getLogger("atelier")


def evaluate(factory: Factory, name: str, number: int) -> dict[str, float]:
    """Score a version, and the champion if its scores are not today's.

    Returns:
        {metric: value} of the version.
    """
    version = factory.registry.version(name, number)
    for candidate in versions_to_score(factory.registry, version):
        if evaluation_differences(factory, candidate):
            _evaluate(factory, candidate)
    scores = factory.registry.scores(version)
    return {metric: score["value"] for metric, score in scores.items()}


def _evaluate(factory: Factory, version: Version) -> None:
    runs = factory.registry.runs
    make_deterministic(factory.params.threads)
    inputs = factory.evaluation_inputs(version)
    datasets = factory.datasets(version.model)
    evaluated = score(factory, version, inputs["extractor"], inputs.get("compared", ""), datasets)
    md5 = data_md5(factory.project.root) or ""
    for dataset in datasets:
        runs.log_input(version.run_id, dataset.name, md5, "evaluation", dataset.info.counts)
    runs.log_scores(version.run_id, evaluated.scores)
    runs.log_curve(version.run_id, "iterations", evaluated.table)
    files: dict[str, Any] = {
        **evaluated.pictures,
        "fingerprint.json": json.dumps(inputs, indent=2),
        "scores.csv": evaluated.table.assign(model=version.model, version=version.number),
        "units.csv": evaluated.units,
    }
    runs.log_files(version.run_id, "evaluation", files)
    fingerprint = digest(inputs)
    # Last: a killed evaluation is done again.
    tags = {f"evaluated.{md5}": fingerprint, "evaluation.fingerprint": fingerprint}
    factory.registry.tag(version, tags)
    log.info("%s  evaluated: %d scores", version, len(evaluated.scores))
