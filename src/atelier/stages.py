"""The stages of the factory, one verb each: train, evaluate, inspect. They exchange names and version numbers.

The last one, who is to be champion, is `atelier.promotion`.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from atelier.built_from import draw_extension, fetch_refiner, generated_file
from atelier.bundle import add_refiner
from atelier.card import described
from atelier.data.store import StoredDataset, read_dataset
from atelier.data.versions.dvc import data_md5
from atelier.fingerprint import datasets_of, digest, flatten, training_inputs
from atelier.params import Model, Params
from atelier.plan import (
    current_evaluation_inputs,
    evaluation_differences,
    plan_model,
    source_version,
    versions_to_score,
)
from atelier.project import Project
from atelier.promotion import INFRASTRUCTURE, require_decidable
from atelier.provenance import GitState, git_state, installed_packages
from atelier.readiness import require_enough_data
from atelier.registry import Registry, Version
from atelier.scoring import score
from atelier.training.checkpoint import Checkpoints
from atelier.training.device import make_deterministic
from atelier.training.interruption import Stopped, StopSignals
from atelier.training_run import Job, run_training

log = logging.getLogger("atelier")


def check_data(project: Project, params: Params, name: str) -> None:
    """Refuse to train a model whose data don't suffice for its training, or for scoring what comes of it.

    Raises:
        TrainingError: naming all that is missing, and what helps.
    """
    require_enough_data(params, name, _read_datasets(project, params.models[name]))


def train(
    project: Project,
    params: Params,
    name: str,
    flow_run_id: str,
    holding: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> int:
    """Train a model unless it is fresh, or go on with its unfinished training, and register it.

    A signal to stop is obeyed between the steps of the preparation, then after a checkpoint, or,
    once the training is done, after the registration.

    Args:
        project: where it is.
        params: the desired state.
        name: of the model.
        flow_run_id: of Prefect, for the record.
        holding: entered for as long as it trains: what it must not share with another training.

    Returns:
        The number of the version that is fresh now.
    """
    registry = Registry(project)
    item = plan_model(project, params, registry, name)
    if item.version is not None:
        return item.version.number
    require_decidable(registry, name)
    training = _training_of(project, params, registry, name, flow_run_id)
    with holding(), StopSignals() as signals:
        run_id = registry.runs.start(name, training.fingerprint, training.tags)
        with _ended(registry, name, run_id):
            _log_what_it_is(registry, run_id, params, training, signals)
            version = _train_and_register(registry, run_id, params, training, signals)
    log.info("%s  registered as version %d", name, version.number)
    return version.number


@dataclass(frozen=True)
class _Training:
    """What a training is made of, as it is known before it begins.

    Attributes:
        name: of the model.
        datasets: that it learns from.
        source: version of another model that it is built from, `name/number`; empty: none.
        inputs: what its fingerprint stands for.
        fingerprint: of the training.
        tags: of its MLflow run and of the version that comes of it.
        checkpoints: their folder.
        code: the project's, as git knows it.
    """

    name: str
    datasets: list[StoredDataset]
    source: str
    inputs: Mapping[str, Any]
    fingerprint: str
    tags: Mapping[str, str]
    checkpoints: Path
    code: GitState


def _training_of(
    project: Project,
    params: Params,
    registry: Registry,
    name: str,
    flow_run_id: str,
) -> _Training:
    datasets = _read_datasets(project, params.models[name])
    source = source_version(params, registry, name)
    digests = {dataset.name: dataset.digest for dataset in datasets}
    inputs = training_inputs(params, name, digests, source)
    fingerprint = digest(inputs)
    code = git_state(project.root)
    tags = _provenance_tags(project, params, code, fingerprint, flow_run_id)
    if source:
        tags["built.from"] = source
    checkpoints = project.checkpoints(name, fingerprint)
    return _Training(name, datasets, source, inputs, fingerprint, tags, checkpoints, code)


@contextmanager
def _ended(registry: Registry, name: str, run_id: str) -> Iterator[None]:
    """End the MLflow run as what is done in it ends: FINISHED, FAILED, or KILLED by a signal."""
    try:
        yield
    except Exception as error:
        registry.runs.note(run_id, f"failed: {error}")
        registry.runs.end(run_id, "FAILED")
        raise
    except BaseException:  # Ctrl-C or a signal: the checkpoint stays, the next run goes on
        log.warning("%s  stopped by a signal; the next run goes on from its checkpoint", name)
        registry.runs.note(run_id, "stopped by a signal; the next run goes on from the checkpoint")
        registry.runs.end(run_id, "KILLED")
        raise
    registry.runs.end(run_id, "FINISHED")


def _log_what_it_is(
    registry: Registry,
    run_id: str,
    params: Params,
    training: _Training,
    signals: StopSignals,
) -> None:
    """Log parameters, data, code and the card; without them the work would be for nothing."""
    _log_inputs(registry, run_id, params, training)
    _obey(signals)
    md5 = training.tags["data.md5"]
    for dataset in training.datasets:
        registry.runs.log_input(run_id, dataset.name, md5, "training", dataset.info.counts)
    _obey(signals)
    counts = {dataset.name: dataset.info.counts for dataset in training.datasets}
    card = described(params, training.name, counts, training.tags)
    registry.runs.log_files(run_id, "card", {"card.json": json.dumps(card, indent=2)})
    _obey(signals)


def _train_and_register(
    registry: Registry, run_id: str, params: Params, training: _Training, signals: StopSignals
) -> Version:
    """From what other models give to a registered version; its checkpoints are deleted then."""
    name, source = training.name, training.source
    dataset = training.datasets[0]
    checkpoints = training.checkpoints
    may_stop = partial(_obey, signals)
    count = draw_extension(registry, params, name, source, dataset, checkpoints, may_stop)
    if count:
        registry.runs.log_params(run_id, {"generated_images": count})
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        restorer = fetch_refiner(registry, params, name, source, dataset, Path(folder) / "restorer")
        _obey(signals)
        root = str(registry.project.root)
        job = Job(root, name, run_id, training.fingerprint, str(bundle), os.getpid())
        run_training(job, params, signals)
        if restorer is not None:
            add_refiner(bundle, restorer, source)
        version = registry.register(name, run_id, bundle, training.tags)
    Checkpoints(checkpoints, training.fingerprint).clear()
    generated_file(checkpoints).unlink(missing_ok=True)
    return version


def _obey(signals: StopSignals) -> None:
    """Stop between two steps, where there is nothing to save, if a signal asked for it."""
    if signals.requested():
        raise Stopped


def _read_datasets(project: Project, model: Model) -> list[StoredDataset]:
    return [read_dataset(project.root, name) for name in datasets_of(model)]


def _provenance_tags(
    project: Project, params: Params, code: GitState, fingerprint: str, flow_run_id: str
) -> dict[str, str]:
    return {
        **code.tags(),
        "fingerprint": fingerprint,
        "data.md5": data_md5(project.root) or "",
        "params.sha256": digest(params.resolved()),
        "seed": str(params.seed),
        "prefect.flow_run_id": flow_run_id,
    }


def _log_inputs(registry: Registry, run_id: str, params: Params, training: _Training) -> None:
    """What `atelier lineage` shows and `atelier reproduce` needs; a resumed run writes all of it again."""
    registry.runs.log_params(run_id, flatten(training.inputs["params"]))
    files: dict[str, Any] = {
        "fingerprint.json": json.dumps(training.inputs, indent=2),
        "params.json": json.dumps(params.resolved(), indent=2),
        "packages.txt": installed_packages(),
        # Empty too, in place of one from before.
        "uncommitted.diff": training.code.uncommitted.diff,
    }
    registry.runs.log_files(run_id, "", files)


def evaluate(project: Project, params: Params, name: str, number: int) -> dict[str, float]:
    """Score a version, and the champion if its scores are not today's; returns {metric: value} of the version."""
    registry = Registry(project)
    version = registry.version(name, number)
    for candidate in versions_to_score(registry, version):
        if evaluation_differences(project, params, registry, candidate):
            _evaluate_one(project, params, registry, candidate)
    return {metric: score["value"] for metric, score in registry.scores(version).items()}


def _evaluate_one(project: Project, params: Params, registry: Registry, version: Version) -> None:
    make_deterministic(params.threads)
    inputs = current_evaluation_inputs(project, params, registry, version)
    datasets = _read_datasets(project, params.models[version.model])
    evaluated = score(registry, params, version, inputs["extractor"], inputs.get("compared", ""), *datasets)
    md5 = data_md5(project.root) or ""
    for dataset in datasets:
        registry.runs.log_input(version.run_id, dataset.name, md5, "evaluation", dataset.info.counts)
    registry.runs.log_scores(version.run_id, evaluated.scores)
    registry.runs.log_curve(version.run_id, "iterations", evaluated.table)
    files: dict[str, Any] = {**evaluated.pictures, "fingerprint.json": json.dumps(inputs, indent=2)}
    files["scores.csv"] = evaluated.table.assign(model=version.model, version=version.number)
    files["units.csv"] = evaluated.units
    registry.runs.log_files(version.run_id, "evaluation", files)
    fingerprint = digest(inputs)  # last: a killed evaluation is done again
    registry.tag(version, {f"evaluated.{md5}": fingerprint, "evaluation.fingerprint": fingerprint})
    log.info("%s  evaluated: %d scores", version, len(evaluated.scores))


def inspect(project: Project, name: str, number: int) -> list[str]:
    """Load and query a version in a fresh process unless that was done; returns why it is refused, nothing if not."""
    registry = Registry(project)
    version = registry.version(name, number)
    if (found := registry.runs.read_json(version.run_id, INFRASTRUCTURE)) is None:
        found = registry.inspect(version)
        registry.runs.log_files(version.run_id, "", {INFRASTRUCTURE: json.dumps(found, indent=2)})
        registry.tag(version, {"blessing.infrastructure": "refused" if found["failures"] else "given"})
        log.info(
            "%s  inspected: %s", version, "; ".join(found["failures"]) or f"{found['milliseconds']:.3g} ms an image"
        )
    return list(found["failures"])
