"""The stages of the factory, one verb each: train, evaluate, judge. They exchange names and version numbers."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from atelier.bundle import write_bundle
from atelier.data.store import StoredDataset, read_dataset
from atelier.data.versions import data_md5
from atelier.degradations.blur import read_kernels
from atelier.errors import ConfigError
from atelier.evaluation import Evaluated, Protocol, evaluate_classifier, evaluate_generator, evaluate_restorer
from atelier.fingerprint import digest, flatten, training_inputs
from atelier.gate import judge, record
from atelier.params import ClassificationModel, GanModel, Model, Params, RestorationModel
from atelier.pictures import grid
from atelier.plan import current_evaluation_inputs, evaluation_differences, plan_model
from atelier.progress import Progress
from atelier.project import Project
from atelier.provenance import git_state, installed_packages
from atelier.registry import CHAMPION, PREVIOUS, Registry, Version
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import train_classifier
from atelier.training.device import choose_device, make_deterministic
from atelier.training.gan import train_gan
from atelier.training.restoration import degradation_steps, train_restorer
from atelier.training.session import Session, Trained

log = logging.getLogger("atelier")


def train(project: Project, params: Params, name: str, flow_run_id: str) -> int:
    """Train a model unless it is fresh, or go on with its unfinished training, and register it.

    Returns:
        The number of the version that is fresh now.
    """
    registry, model = Registry(project), params.models[name]
    item = plan_model(project, params, registry, name)
    if item.version is not None:
        return item.version.number
    dataset = read_dataset(project.root, model.dataset)
    inputs = training_inputs(params, name, dataset.digest)
    fingerprint = digest(inputs)
    tags = _provenance_tags(project, params, fingerprint, flow_run_id)
    run_id = registry.runs.start(name, fingerprint, tags)
    try:
        _log_inputs(registry, run_id, project, inputs, tags)
        registry.runs.log_input(run_id, model.dataset, tags["data.md5"], "training", dataset.info.counts)
        checkpoints = Checkpoints(project.checkpoints(name, fingerprint), fingerprint)
        trained = _run_loop(registry, run_id, params, name, dataset, checkpoints)
        with tempfile.TemporaryDirectory() as folder:
            bundle = write_bundle(Path(folder) / "bundle", model.kind, trained, dataset.info)
            version = registry.register(name, run_id, bundle, tags)
        checkpoints.clear()
    except Exception:
        registry.runs.end(run_id, "FAILED")
        raise
    except BaseException:  # Ctrl-C or a signal: the checkpoint stays, the next run goes on
        registry.runs.end(run_id, "KILLED")
        raise
    registry.runs.end(run_id, "FINISHED")
    log.info("%s  registered as version %d", name, version.number)
    return version.number


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


def _run_loop(
    registry: Registry, run_id: str, params: Params, name: str, dataset: StoredDataset, checkpoints: Checkpoints
) -> Trained:
    model, run_log = _located(registry, params, name), registry.run_log(run_id)
    progress = Progress(name, round(model.training.kimg * 1000))
    threads = make_deterministic(params.threads)
    device = choose_device(params.device)
    registry.runs.log_params(run_id, {"device": device.type, "threads": threads})

    def on_log(images_seen: int, values: Mapping[str, float]) -> None:
        run_log.metrics(images_seen, values)
        progress.update(images_seen, values)

    def on_sample(images_seen: int, x_BCHW: torch.Tensor) -> None:
        run_log.image(images_seen, "samples", grid(x_BCHW.cpu().numpy(), columns=8))

    session = Session(device, params.seed, checkpoints, on_log, on_sample)
    try:
        return LOOPS[model.kind](model, dataset, session)
    finally:
        run_log.flush()


def _located(registry: Registry, params: Params, name: str) -> Model:
    """A model's parameters with the files that they name as they are to be opened, which differs between machines.

    Raises:
        ConfigError: if such a file can't be read, or is another one.
    """
    model = params.models[name]
    if not isinstance(model, RestorationModel):
        return model
    steps = tuple(step.located(registry.project.root) for step in model.degradation)
    for step in steps:
        if step.kernel_blur is not None:
            try:
                read_kernels(step.kernel_blur.path, step.kernel_blur.sha256)
            except ValueError as error:
                raise ConfigError(f"models.{name}: {error}") from None
    return model.model_copy(update={"degradation": steps})


LOOPS: dict[str, Callable[..., Trained]] = {
    "classification": train_classifier,
    "gan": train_gan,
    "restoration": train_restorer,
}


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
    dataset = read_dataset(project.root, params.models[version.model].dataset)
    evaluated = score(registry, params, version, inputs["extractor"], dataset)
    registry.runs.log_input(
        version.run_id, dataset.name, data_md5(project.root) or "", "evaluation", dataset.info.counts
    )
    registry.runs.log_scores(version.run_id, evaluated.scores)
    files: dict[str, Any] = {**evaluated.pictures, "fingerprint.json": json.dumps(inputs, indent=2)}
    files["scores.csv"] = evaluated.table.assign(model=version.model, version=version.number)
    registry.runs.log_files(version.run_id, "evaluation", files)
    registry.tag(version, {"evaluation.fingerprint": digest(inputs)})  # last: a killed evaluation is done again
    log.info("%s  evaluated: %d scores", version, len(evaluated.scores))


def score(registry: Registry, params: Params, version: Version, extractor: str, dataset: StoredDataset) -> Evaluated:
    """Load a version as registered and score it on the test images of `dataset`."""
    model, device = _located(registry, params, version.model), choose_device(params.device)
    protocol = Protocol(params.evaluation, params.seed, device)
    served = registry.load(version).unwrap_python_model()
    network = served.network.to(device)
    classifier = None
    if extractor:
        classifier = registry.load(registry.resolve(extractor)).unwrap_python_model().network.to(device)
    if isinstance(model, ClassificationModel):
        return evaluate_classifier(network, dataset, protocol)
    if isinstance(model, RestorationModel):
        return evaluate_restorer(network, degradation_steps(model), dataset, classifier, protocol)
    assert isinstance(model, GanModel) and classifier is not None  # params.checks: a GAN always has an extractor

    def generate(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        request = pd.DataFrame({"num_images": [num_images], "seed": [seed]})
        return served.predict(None, request), np.arange(num_images) % dataset.info.num_classes

    recipe = params.models[params.evaluation.classifier]
    assert isinstance(recipe, ClassificationModel)
    return evaluate_generator(generate, recipe, classifier, dataset, protocol)


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
