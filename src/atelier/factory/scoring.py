"""Load a registered version and score it: what `evaluate` does between its bookkeeping."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from atelier.data.sources.download import fetch
from atelier.data.store import StoredDataset
from atelier.errors import RemoteError
from atelier.evaluation import (
    Evaluated,
    Protocol,
    evaluate_classifier,
    evaluate_generator,
    evaluate_restorer,
    evaluate_unpaired,
    explain_classifier,
    explain_generator,
    explain_restorer,
    with_pictures,
)
from atelier.evaluation.extractors import (
    Extractor,
    classifier_extractor,
    efficientnet_extractor,
    inception_extractor,
)
from atelier.evaluation.sampling import Drawn, draw_sampled
from atelier.factory import Factory
from atelier.factory.fingerprint import digest, module_hashes
from atelier.factory.training_run import locate_files
from atelier.params import ClassificationModel, GanModel, Model, RestorationModel, TranslationModel
from atelier.params.extractors import EFFICIENTNET_SHA256, INCEPTION_ADDRESS
from atelier.registry import Version
from atelier.training.device import choose_device
from atelier.training.restoration import degradation_steps

log = logging.getLogger("atelier")


@dataclass(frozen=True)
class _Subject:
    """A version that is to be scored, loaded as it was registered.

    Attributes:
        factory: that it is registered in.
        model: its parameters, with files as they are to be opened.
        served: what MLflow serves.
        network: of it, on its device.
        datasets: its own, and that of damaged pictures where it has one.
        extractor: version or weights that take features, `name/number`; empty: none.
        compared: the version that its scores are compared with, `name/number`; empty: none.
        protocol: how to score.
    """

    factory: Factory
    model: Model
    served: Any
    network: torch.nn.Module
    datasets: Sequence[StoredDataset]
    extractor: str
    compared: str
    protocol: Protocol


def score(
    factory: Factory,
    version: Version,
    extractor: str,
    compared: str,
    datasets: Sequence[StoredDataset],
) -> Evaluated:
    """Load a version as registered, and score it on the test images of its datasets.

    Args:
        factory: that it is registered in.
        version: to be scored.
        extractor: version or weights that take features, `name/number`; empty: none.
        compared: the version that it is compared with, `name/number`; empty: none.
        datasets: its own, and that of damaged pictures where it has one.
    """
    params = factory.params
    model = locate_files(factory.project, params, version.model)
    device = choose_device(params.device)
    # Other code may take other features.
    code = digest(module_hashes("atelier.evaluation.feature_cache"))[:16]
    protocol = Protocol(
        params.evaluation.resolve_paths(factory.project.root),
        params.seed,
        device,
        factory.project.cache / "features" / code,
    )
    served = factory.registry.load(version).unwrap_python_model()
    network = served.network.to(device)
    subject = _Subject(factory, model, served, network, datasets, extractor, compared, protocol)
    return SCORERS[model.kind](subject)


def _score_classifier(subject: _Subject) -> Evaluated:
    network = subject.network
    dataset = subject.datasets[0]
    evaluated = evaluate_classifier(network, dataset, subject.protocol)
    device = subject.protocol.device
    return with_pictures(evaluated, explain_classifier(network, dataset, evaluated.units, device))


def _score_restorer(subject: _Subject) -> Evaluated:
    model = subject.model
    assert isinstance(model, (RestorationModel, TranslationModel))
    if len(subject.datasets) > 1:
        clean, damaged = subject.datasets
        extractor = _extractor(subject)
        return evaluate_unpaired(subject.network, damaged, clean, extractor, subject.protocol)
    dataset = subject.datasets[0]
    classifier = _network(subject, subject.extractor) if subject.extractor else None
    others = {}
    if subject.compared:
        others[subject.compared] = _network(subject, subject.compared)
    steps = degradation_steps(model)
    evaluated = evaluate_restorer(
        subject.network, steps, dataset, classifier, subject.protocol, others
    )
    device = subject.protocol.device
    pictures = explain_restorer(subject.network, steps, dataset, evaluated.units, device)
    return with_pictures(evaluated, pictures)


def _score_generator(subject: _Subject) -> Evaluated:
    params = subject.factory.params
    served = subject.served
    refiner = getattr(served, "refiner", None)  # versions of before have none
    if refiner is not None:
        refiner.to(subject.protocol.device)
    recipe = params.models.get(params.evaluation.classifier)
    assert recipe is None or isinstance(recipe, ClassificationModel)
    extractor = _extractor(subject)
    evaluated = evaluate_generator(
        partial(_generate, served, refined=1),
        recipe,
        extractor,
        subject.datasets[0],
        subject.protocol,
        partial(_generate, served, refined=0) if refiner is not None else None,
        _sampler(subject, extractor),
    )
    pictures = explain_generator(subject.network, served.config["network"], params.seed)
    return with_pictures(evaluated, pictures)


def _sampler(subject: _Subject, extractor: Extractor) -> Callable[[int, int], Drawn] | None:
    """What draws by the model's `sampling`; None if that draws what the GAN draws by itself."""
    model = subject.model
    assert isinstance(model, GanModel)
    sampling = model.sampling
    if sampling is None or sampling.changes_nothing:
        return None
    served = subject.served
    if sampling.confidence and served.config["network"]["num_classes"] == 1:
        # Another version of the same model may know classes.
        log.warning("sampling.confidence is left out: this version can't be asked for a class")
        sampling = sampling.model_copy(update={"confidence": 0.0})
    draw = partial(_generate, served, refined=1)
    return partial(draw_sampled, draw, subject.network, sampling, extractor)


def _generate(
    served: Any, num_images: int, seed: int, label: int = -1, *, refined: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images of a class, -1: of all in turn, and their classes if the generator is told them."""
    request = {"num_images": num_images, "seed": seed, "class": label, "refined": refined}
    images_NCHW = served.predict(None, pd.DataFrame([request]))
    num_classes = served.config["network"]["num_classes"]
    if num_classes == 1:
        return images_NCHW, None
    labels_N = np.arange(num_images) % num_classes
    return images_NCHW, labels_N if label < 0 else np.full_like(labels_N, label)


SCORERS: dict[str, Callable[[_Subject], Evaluated]] = {
    "classification": _score_classifier,
    "gan": _score_generator,
    "restoration": _score_restorer,
    "translation": _score_restorer,
}


def _extractor(subject: _Subject) -> Extractor:
    """What `evaluation.features` names; params.checks: where this is called there is one."""
    evaluation = subject.factory.params.evaluation
    root = subject.factory.project.root
    identity = subject.extractor
    device = subject.protocol.device
    match evaluation.extractor:
        case "efficientnet":
            side = evaluation.efficientnet_side
            return efficientnet_extractor(side, EFFICIENTNET_SHA256, identity, device)
        case "inception":
            sha256 = evaluation.inception.sha256
            given = evaluation.inception.path
            path = root / given if given else _download(root, sha256)
            return inception_extractor(path, sha256, identity, device)
    return classifier_extractor(_network(subject, identity), identity, device)


def _download(root: Path, sha256: str) -> Path:
    try:
        return fetch(root, INCEPTION_ADDRESS, sha256)
    except RemoteError as error:
        hint = "Or name a copy of the file in evaluation.inception.path."
        raise RemoteError(f"{error} {hint}") from None


def _network(subject: _Subject, version: str) -> torch.nn.Module:
    """The network of another version, on the same device."""
    registry = subject.factory.registry
    served = registry.load(registry.resolve(version)).unwrap_python_model()
    network: torch.nn.Module = served.network.to(subject.protocol.device)
    return network
