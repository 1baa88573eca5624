"""The stages of the factory, one verb each: train, evaluate, judge. They exchange names and version numbers."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from atelier.built_from import draw_extension, fetch_refiner, generated_file
from atelier.bundle import add_refiner
from atelier.data.download import fetched
from atelier.data.store import StoredDataset, read_dataset
from atelier.data.versions import data_md5
from atelier.errors import RemoteError
from atelier.evaluation import (
    Evaluated,
    Protocol,
    evaluate_classifier,
    evaluate_generator,
    evaluate_restorer,
    evaluate_unpaired,
)
from atelier.evaluation.extractors import (
    Extractor,
    classifier_extractor,
    efficientnet_extractor,
    inception_extractor,
)
from atelier.fingerprint import datasets_of, digest, flatten, module_hashes, training_inputs
from atelier.gate import judge, record
from atelier.params import ClassificationModel, GanModel, Model, Params, RestorationModel, TranslationModel
from atelier.params.extractors import EFFICIENTNET_SHA256, INCEPTION_ADDRESS
from atelier.plan import current_evaluation_inputs, evaluation_differences, plan_model, source_version
from atelier.project import Project
from atelier.provenance import git_state, installed_packages
from atelier.registry import CHAMPION, PREVIOUS, Registry, Version
from atelier.training.checkpoint import Checkpoints
from atelier.training.device import choose_device, make_deterministic
from atelier.training.interruption import StopSignals
from atelier.training.restoration import degradation_steps
from atelier.training_run import Job, located, run_training

log = logging.getLogger("atelier")


def train(project: Project, params: Params, name: str, flow_run_id: str) -> int:
    """Train a model unless it is fresh, or go on with its unfinished training, and register it.

    A signal to stop is obeyed after a checkpoint, or, once the training is done, after the registration.

    Returns:
        The number of the version that is fresh now.
    """
    registry, model = Registry(project), params.models[name]
    item = plan_model(project, params, registry, name)
    if item.version is not None:
        return item.version.number
    datasets, source = _read_datasets(project, model), source_version(params, registry, name)
    inputs = training_inputs(params, name, {dataset.name: dataset.digest for dataset in datasets}, source)
    fingerprint = digest(inputs)
    checkpoints = project.checkpoints(name, fingerprint)
    tags = _provenance_tags(project, params, fingerprint, flow_run_id) | ({"built.from": source} if source else {})
    with StopSignals() as signals:
        run_id = registry.runs.start(name, fingerprint, tags)
        try:
            _log_inputs(registry, run_id, project, inputs, tags)
            for dataset in datasets:
                registry.runs.log_input(run_id, dataset.name, tags["data.md5"], "training", dataset.info.counts)
            if count := draw_extension(registry, params, name, source, datasets[0], checkpoints):
                registry.runs.log_params(run_id, {"generated_images": count})
            with tempfile.TemporaryDirectory() as folder:
                bundle = Path(folder) / "bundle"
                restorer = fetch_refiner(registry, params, name, source, datasets[0], Path(folder) / "restorer")
                job = Job(str(project.root), name, run_id, fingerprint, str(bundle), os.getpid())
                run_training(job, params, signals)
                if restorer is not None:
                    add_refiner(bundle, restorer, source)
                version = registry.register(name, run_id, bundle, tags)
            Checkpoints(checkpoints, fingerprint).clear()
            generated_file(checkpoints).unlink(missing_ok=True)
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
    log.info("%s  registered as version %d", name, version.number)
    return version.number


def _read_datasets(project: Project, model: Model) -> list[StoredDataset]:
    return [read_dataset(project.root, name) for name in datasets_of(model)]


def _provenance_tags(project: Project, params: Params, fingerprint: str, flow_run_id: str) -> dict[str, str]:
    git = git_state(project.root)
    return {
        "fingerprint": fingerprint,
        "data.md5": data_md5(project.root) or "",
        "params.sha256": digest(params.resolved()),
        "git.commit": git.commit,
        "git.dirty": str(git.dirty).lower(),
        "seed": str(params.seed),
        "prefect.flow_run_id": flow_run_id,
    }


def _log_inputs(
    registry: Registry, run_id: str, project: Project, inputs: Mapping[str, Any], tags: Mapping[str, str]
) -> None:
    registry.runs.log_params(run_id, flatten(inputs["params"]))
    files = {"fingerprint.json": json.dumps(inputs, indent=2), "packages.txt": installed_packages()}
    if diff := git_state(project.root).diff:
        files["uncommitted.diff"] = diff
    registry.runs.log_files(run_id, "", files)


def evaluate(project: Project, params: Params, name: str, number: int) -> dict[str, float]:
    """Score a version, and the champion if its scores are not today's; returns {metric: value} of the version."""
    registry = Registry(project)
    version, champion = registry.version(name, number), registry.aliased(name, CHAMPION)
    for candidate in {item.number: item for item in (version, champion) if item is not None}.values():
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
    registry.tag(version, {"evaluation.fingerprint": digest(inputs)})  # last: a killed evaluation is done again
    log.info("%s  evaluated: %d scores", version, len(evaluated.scores))


def score(
    registry: Registry,
    params: Params,
    version: Version,
    extractor: str,
    compared: str,
    dataset: StoredDataset,
    damaged: StoredDataset | None = None,
) -> Evaluated:
    """Load a version as registered and score it on the test images of `dataset`, or of what it is to make alike."""
    model, device = located(registry.project, params, version.model), choose_device(params.device)
    kept = digest(module_hashes("atelier.evaluation.feature_cache"))[:16]  # other code may take other features
    protocol = Protocol(params.evaluation, params.seed, device, registry.project.cache / "features" / kept)
    served = registry.load(version).unwrap_python_model()
    network = served.network.to(device)
    if isinstance(model, ClassificationModel):
        return evaluate_classifier(network, dataset, protocol)
    if damaged is not None:
        return evaluate_unpaired(network, damaged, dataset, _extractor(registry, params, extractor, device), protocol)
    if isinstance(model, (RestorationModel, TranslationModel)):
        classifier = _network(registry, extractor, device) if extractor else None
        others = {compared: _network(registry, compared, device)} if compared else {}
        return evaluate_restorer(network, degradation_steps(model), dataset, classifier, protocol, others)
    assert isinstance(model, GanModel)
    refiner = getattr(served, "refiner", None)
    if refiner is not None:
        refiner.to(device)

    def generate(num_images: int, seed: int, refined: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
        request = pd.DataFrame({"num_images": [num_images], "seed": [seed], "refined": [refined]})
        num_classes = served.config["network"]["num_classes"]
        return served.predict(None, request), np.arange(num_images) % num_classes if num_classes > 1 else None

    recipe = params.models.get(params.evaluation.classifier)
    assert recipe is None or isinstance(recipe, ClassificationModel)
    unrefined = partial(generate, refined=0) if refiner is not None else None
    features = _extractor(registry, params, extractor, device)
    return evaluate_generator(generate, recipe, features, dataset, protocol, unrefined)


def _extractor(registry: Registry, params: Params, identity: str, device: torch.device) -> Extractor:
    """What `evaluation.features` names; params.checks: where this is called there is one."""
    asked, root = params.evaluation, registry.project.root
    match asked.extractor:
        case "efficientnet":
            return efficientnet_extractor(asked.efficientnet_side, EFFICIENTNET_SHA256, identity, device)
        case "inception":
            path = root / asked.inception.path if asked.inception.path else _downloaded(root, asked.inception.sha256)
            return inception_extractor(path, asked.inception.sha256, identity, device)
    return classifier_extractor(_network(registry, identity, device), identity, device)


def _downloaded(root: Path, sha256: str) -> Path:
    try:
        return fetched(root, INCEPTION_ADDRESS, sha256)
    except RemoteError as error:
        raise RemoteError(f"{error} Or name a copy of the file in evaluation.inception.path.") from None


def _network(registry: Registry, version: str, device: torch.device) -> torch.nn.Module:
    network: torch.nn.Module = registry.load(registry.resolve(version)).unwrap_python_model().network
    return network.to(device)


def decide(project: Project, params: Params, name: str, number: int) -> str:
    """Let the gate judge an evaluated version unless it has been judged, and move the aliases as it says.

    Returns:
        The verdict: promoted, kept, rejected, or rolled back.
    """
    registry = Registry(project)
    version, champion = registry.version(name, number), registry.aliased(name, CHAMPION)
    if "verdict" in version.tags:
        return version.tags["verdict"]
    if champion is not None and champion.number == version.number:  # killed after the alias moved: judge as then
        champion = registry.aliased(name, PREVIOUS)
    gate = getattr(params.promotion, params.models[name].kind)
    verdict = judge(gate, registry.scores(version), registry.scores(champion) if champion else None)
    record(registry, version, verdict)
    log.info("%s  %s: %s", version, verdict.outcome, "; ".join(verdict.reasons))
    return verdict.outcome
