"""Projects with registered versions, made without a training: random weights, real registry."""

import torch

from atelier.data.store import DatasetInfo
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer
from atelier.registry import CHAMPION, Registry
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained

BUILDERS = {"restoration": build_restorer, "gan": build_generator}


def register(registry, folder, name, kind, config, class_names=()):
    """A new version of a model, with weights of its own; returns its number."""
    number = len(registry.versions(name)) + 1
    torch.manual_seed(number)
    network = BUILDERS[kind](**config).eval()
    for weights in network.parameters():  # the last ones start at zero
        if not weights.any():
            torch.nn.init.normal_(weights, std=0.05)
    info = DatasetInfo(config.get("image_size"), config["channels"], len(class_names), class_names, {})
    bundle = write_bundle(folder / f"{name}-{number}", kind, Trained(network, config, 0), info)
    run_id = registry.runs.start(name, f"fingerprint {number}", {})
    registry.runs.end(run_id, "FINISHED")
    return registry.register(name, run_id, bundle, {}).number


def crown_latest(registry, name):
    """The newest version answers from now on."""
    registry.set_alias(name, CHAMPION, registry.versions(name)[-1].number)


def open_registry(project):
    return Registry(project)
