"""What a file may leave out: the recipes of the shipped params.yaml.

Defaults are written into what was read before it is checked, so that the resolved parameters, and
with them the fingerprints, hold them: a release with another default makes models stale, in words.
"""

from __future__ import annotations

import copy
from typing import Any

Raw = dict[str, Any]

TOP: Raw = {"seed": 7, "device": "auto", "threads": "auto"}
EVALUATION: Raw = {"num_images": 10_000, "confidence": 0.95}
# A restorer that is worse than the best classical baseline is no champion.
PROMOTION: Raw = {"restoration": {"metric": "psnr", "floors": {"psnr_gain": 0.0}}}
CROP = 48  # pixels: of pictures that keep their own size
# By the source: what its pictures are, where all are alike.
DATASETS: dict[str, Raw] = {
    "fashion-mnist": {"image_size": 28, "channels": 1},
    "idx": {"channels": 1},
    "folder": {"channels": 3},
    "archive": {"channels": 3},
    "parquet": {"channels": 3},
}
MODELS: dict[str, Raw] = {
    "classification": {"network": {"name": "cnn"}},
    "gan": {
        "generator": {"name": "dcgan"},
        "discriminator": {"name": "dcgan"},
        "loss": "non-saturating",
        "r1_gamma": 2.0,
        "r2_gamma": 0.0,
    },
    "restoration": {"network": {"name": "cnn"}, "loss": "l2"},
    "translation": {"network": {"name": "cnn"}},
}
# Of a GAN that chooses none of its penalties itself: it belongs to that of `MODELS`.
PENALTY: Raw = {"penalty_every": 4}
PENALTIES = {"r1_gamma", "r2_gamma", "gp_weight"}
TRAININGS: dict[str, Raw] = {
    "classification": {
        "kimg": 300.0,
        "batch_size": 128,
        "lr": 3e-3,
        "warmup_kimg": 5.0,
        "augment": {"flip": True},
    },
    "gan": {
        "kimg": 340.0,
        "batch_size": 64,
        "lr": 1.4e-3,
        "betas": [0.0, 0.99],
        "warmup_kimg": 5.0,
        "ema_halflife_kimg": 10.0,
    },
    "restoration": {
        "kimg": 160.0,
        "batch_size": 64,
        "lr": 2e-3,
        "warmup_kimg": 5.0,
        "augment": {"flip": True},
    },
    "translation": {
        "kimg": 40.0,
        "batch_size": 8,
        "lr": 1e-3,
        "betas": [0.5, 0.99],
        "warmup_kimg": 1.0,
        "ema_halflife_kimg": 1.0,
        "augment": {"flip": True},
    },
}
# Of a training that is given in part only what every training needs: what else it leaves out is
# off, as the reference of the keys says.
NEEDED = ("batch_size", "lr")
# By the part of the model and the network's name.
NETWORKS: dict[str, dict[str, Raw]] = {
    "classification.network": {"cnn": {"width": 24}},
    "restoration.network": {
        "cnn": {"width": 32, "depth": 6},
        "crnn": {"width": 16, "iterations": 3},
        "unet": {"width": 32, "levels": 2, "blocks": 2},
        "nafnet": {"width": 32, "levels": 2, "blocks": 2},
        "resnet_sr": {"width": 64, "blocks": 8},
    },
    "gan.generator": {
        "dcgan": {"width": 32, "latent_dim": 64},
        "resnet": {"width": 32, "latent_dim": 64},
        "r3": {"width": 32, "latent_dim": 64},
        "progressive": {"width": 32, "latent_dim": 64},
    },
    "gan.discriminator": {
        "dcgan": {"width": 32},
        "resnet": {"width": 32},
        "r3": {"width": 32},
        "progressive": {"width": 32},
    },
}
NETWORKS["translation.network"] = NETWORKS["restoration.network"]


def fill_defaults(raw: Raw, *, budgets: bool = True) -> Raw:
    """What was read, with what it leaves out; what can't be understood stays as it is.

    Args:
        raw: as read from the file.
        budgets: whether trainings without `kimg` or `minutes` get one. Not before the overrides,
            which may give either.
    """
    filled = copy.deepcopy(raw)
    _fill(filled, TOP)
    _fill(_section(filled, "evaluation"), EVALUATION)
    _fill(_section(filled, "promotion"), PROMOTION)
    datasets = _mappings(filled.get("datasets"))
    models = _mappings(filled.get("models"))
    for dataset in datasets.values():
        _fill(dataset, DATASETS.get(_source_of(dataset), {}))
    for model in models.values():
        _fill_model(model, datasets.get(str(model.get("dataset"))), budgets)
    _fill_features(filled["evaluation"], models)
    return filled


def _fill(section: Any, defaults: Raw) -> None:
    """Add the keys that a mapping lacks."""
    if isinstance(section, dict):
        for key, value in defaults.items():
            section.setdefault(key, copy.deepcopy(value))


def _section(raw: Raw, key: str) -> Any:
    """A section of the file; an empty one where it is left out."""
    return raw.setdefault(key, {})


def _mappings(section: Any) -> dict[str, Raw]:
    """The entries of a section that can be filled."""
    if not isinstance(section, dict):
        return {}
    return {str(name): entry for name, entry in section.items() if isinstance(entry, dict)}


def _source_of(dataset: Raw) -> str:
    """The kind of a dataset's source, of the first where it has several."""
    sources = dataset.get("sources")
    if isinstance(sources, list) and sources and isinstance(sources[0], dict):
        return str(sources[0].get("source"))
    return str(dataset.get("source"))


def _fill_model(model: Raw, dataset: Raw | None, budgets: bool) -> None:
    kind = str(model.get("kind"))
    if kind == "gan" and not PENALTIES & model.keys():
        _fill(model, PENALTY)
    _fill(model, MODELS.get(kind, {}))
    for part in ("network", "generator", "discriminator"):
        network = model.get(part)
        if isinstance(network, dict):
            known = NETWORKS.get(f"{kind}.{part}", {})
            _fill(network, known.get(str(network.get("name")), {}))
    recipe = TRAININGS.get(kind)
    if recipe is None:
        return
    if "training" not in model:
        model["training"] = {key: value for key, value in recipe.items() if key != "kimg"}
    training = model["training"]
    if not isinstance(training, dict):
        return
    _fill(training, {key: recipe[key] for key in NEEDED})
    if budgets and "kimg" not in training and "minutes" not in training:
        training["kimg"] = recipe["kimg"]
    if dataset is not None and dataset.get("image_size") is None:
        if kind in ("restoration", "translation"):
            training.setdefault("crop_size", _crop_of(dataset))


def _crop_of(dataset: Raw) -> int:
    """The side of training crops, in pixels: no larger than the smallest picture may be."""
    smallest = dataset.get("min_size")
    return min(CROP, smallest) if isinstance(smallest, int) else CROP


def _fill_features(evaluation: Any, models: dict[str, Raw]) -> None:
    """A GAN is scored on the features of the one classifier of its pictures."""
    drawn = {model.get("dataset") for model in models.values() if model.get("kind") == "gan"}
    classifiers = []
    for name, model in models.items():
        if model.get("kind") == "classification" and model.get("dataset") in drawn:
            classifiers.append(name)
    if isinstance(evaluation, dict) and len(classifiers) == 1:
        evaluation.setdefault("features", f"classifier:{classifiers[0]}")
