"""Load a registered version and score it: what `stages.evaluate` does between its bookkeeping."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from atelier.data.sources.download import fetched
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
from atelier.fingerprint import digest, module_hashes
from atelier.params import ClassificationModel, GanModel, Params, RestorationModel, TranslationModel
from atelier.params.extractors import EFFICIENTNET_SHA256, INCEPTION_ADDRESS
from atelier.registry import Registry, Version
from atelier.training.device import choose_device
from atelier.training.restoration import degradation_steps
from atelier.training_run import located


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
    protocol = Protocol(
        params.evaluation.located(registry.project.root),
        params.seed,
        device,
        registry.project.cache / "features" / kept,
    )
    served = registry.load(version).unwrap_python_model()
    network = served.network.to(device)
    if isinstance(model, ClassificationModel):
        evaluated = evaluate_classifier(network, dataset, protocol)
        return with_pictures(evaluated, explain_classifier(network, dataset, evaluated.units, device))
    if damaged is not None:
        return evaluate_unpaired(network, damaged, dataset, _extractor(registry, params, extractor, device), protocol)
    if isinstance(model, (RestorationModel, TranslationModel)):
        classifier = _network(registry, extractor, device) if extractor else None
        others = {compared: _network(registry, compared, device)} if compared else {}
        steps = degradation_steps(model)
        evaluated = evaluate_restorer(network, steps, dataset, classifier, protocol, others)
        return with_pictures(evaluated, explain_restorer(network, steps, dataset, evaluated.units, device))
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
    evaluated = evaluate_generator(generate, recipe, features, dataset, protocol, unrefined)
    return with_pictures(evaluated, explain_generator(network, served.config["network"], params.seed))


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
