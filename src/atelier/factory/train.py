"""The stage that trains a model, or goes on with its unfinished training, and registers it."""

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

from atelier.data.store import StoredDataset
from atelier.data.versions.dvc import data_md5
from atelier.factory import Factory
from atelier.factory.built_from import draw_extension, fetch_refiner, generated_file
from atelier.factory.card import begin_card
from atelier.factory.fingerprint import digest, flatten
from atelier.factory.plan import plan_model
from atelier.factory.provenance import GitState, git_state, installed_packages
from atelier.factory.readiness import require_enough_data
from atelier.factory.training_run import Job, run_training
from atelier.registry import Registry, Version
from atelier.serving.bundle import add_refiner
from atelier.training.checkpoint import Checkpoints
from atelier.training.interruption import Stopped, StopSignals

log = logging.getLogger("atelier")


def check_data(factory: Factory, name: str) -> None:
    """Refuse to train a model whose data don't suffice for its training, or for scoring its result.

    Raises:
        TrainingError: naming all that is missing, and what helps.
    """
    require_enough_data(factory.params, name, factory.datasets(name))


def train(
    factory: Factory,
    name: str,
    flow_run_id: str,
    holding: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> int:
    """Train a model unless it is fresh, or go on with its unfinished training, and register it.

    A signal to stop is obeyed between the steps of the preparation, then after a checkpoint, or,
    once the training is done, after the registration.

    Args:
        factory: the desired state, and what there is.
        name: of the model.
        flow_run_id: of Prefect, for the record.
        holding: entered for as long as it trains: what must hold for it to begin, and what it must
            not share with another training.

    Returns:
        The number of the version that is fresh now.
    """
    item = plan_model(factory, name)
    if item.version is not None:
        return item.version.number
    registry = factory.registry
    training = _training_of(factory, name, flow_run_id)
    with holding(), StopSignals() as signals:
        run_id = registry.runs.start(name, training.fingerprint, training.tags)
        with _end_as_it_ends(registry, name, run_id):
            _log_what_it_is(factory, run_id, training, signals)
            version = _train_and_register(factory, run_id, training, signals)
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


def _training_of(factory: Factory, name: str, flow_run_id: str) -> _Training:
    project = factory.project
    inputs = factory.training_inputs(name)
    fingerprint = digest(inputs)
    code = git_state(project.root)
    source = inputs.get("source", "")
    tags = {
        **code.tags(),
        "fingerprint": fingerprint,
        "data.md5": data_md5(project.root) or "",
        "params.sha256": digest(factory.params.as_json()),
        "seed": str(factory.params.seed),
        "prefect.flow_run_id": flow_run_id,
    }
    if source:
        tags["built.from"] = source
    return _Training(
        name=name,
        datasets=factory.datasets(name),
        source=source,
        inputs=inputs,
        fingerprint=fingerprint,
        tags=tags,
        checkpoints=project.checkpoints(name, fingerprint),
        code=code,
    )


@contextmanager
def _end_as_it_ends(registry: Registry, name: str, run_id: str) -> Iterator[None]:
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
    factory: Factory, run_id: str, training: _Training, signals: StopSignals
) -> None:
    """Log parameters, data, code and the card; without them the work would be for nothing."""
    runs = factory.registry.runs
    _log_inputs(factory, run_id, training)
    _obey(signals)
    md5 = training.tags["data.md5"]
    for dataset in training.datasets:
        runs.log_input(run_id, dataset.name, md5, "training", dataset.info.counts)
    _obey(signals)
    counts = {dataset.name: dataset.info.counts for dataset in training.datasets}
    card = begin_card(factory.params, training.name, counts, training.tags)
    runs.log_files(run_id, "card", {"card.json": json.dumps(card, indent=2)})
    _obey(signals)


def _log_inputs(factory: Factory, run_id: str, training: _Training) -> None:
    """What `atelier lineage` shows and `atelier reproduce` needs; a resumed run writes it again."""
    runs = factory.registry.runs
    runs.log_params(run_id, flatten(training.inputs["params"]))
    files: dict[str, Any] = {
        "fingerprint.json": json.dumps(training.inputs, indent=2),
        "params.json": json.dumps(factory.params.as_json(), indent=2),
        "packages.txt": installed_packages(),
        # Empty too, in place of one from before.
        "uncommitted.diff": training.code.uncommitted.diff,
    }
    runs.log_files(run_id, "", files)


def _train_and_register(
    factory: Factory, run_id: str, training: _Training, signals: StopSignals
) -> Version:
    """From what other models give to a registered version; its checkpoints are deleted then."""
    registry = factory.registry
    checkpoints = training.checkpoints
    dataset = training.datasets[0]
    may_stop = partial(_obey, signals)
    count = draw_extension(factory, training.name, training.source, dataset, checkpoints, may_stop)
    if count:
        registry.runs.log_params(run_id, {"generated_images": count})
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        folder = Path(scratch) / "restorer"
        restorer = fetch_refiner(factory, training.name, training.source, dataset, folder)
        _obey(signals)
        root = str(factory.project.root)
        job = Job(root, training.name, run_id, training.fingerprint, str(bundle), os.getpid())
        run_training(job, factory.params, signals)
        if restorer is not None:
            add_refiner(bundle, restorer, training.source)
        version = registry.register(training.name, run_id, bundle, training.tags)
    Checkpoints(checkpoints, training.fingerprint).clear()
    generated_file(checkpoints).unlink(missing_ok=True)
    return version


def _obey(signals: StopSignals) -> None:
    """Stop between two steps, where there is nothing to save, if a signal asked for it."""
    if signals.requested():
        raise Stopped
