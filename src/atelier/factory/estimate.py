"""How long the trainings of a plan take on this machine, and how much disk they need.

An earlier run of the same model tells it; else the real loop is measured for a second, and what was
seen is kept in `.atelier/speeds.json`. What can't be known is left out.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atelier.factory import Factory
from atelier.factory.fingerprint import TRAINING_MODULES, datasets_of, digest, module_hashes
from atelier.factory.plan import Item
from atelier.factory.preflight import bytes_to_ingest, has_driver
from atelier.params import ClassificationModel, GanModel, Model, Params, RestorationModel

log = logging.getLogger("atelier")

CHECKPOINTS = 2  # at a time
# A checkpoint holds the weights, their average and Adam's two moments of each.
WEIGHTS_IN_A_CHECKPOINT = 4
BYTES_A_WEIGHT = 4
# Of a dataset that isn't stored yet, where the model needs some.
LIKELY_CLASSES = 10
# Of a training, what a step's time depends on; of a model, what it doesn't depend on.
PACE = ("batch_size", "accumulate", "devices", "precision", "compile", "crop_size", "augment")
NO_PACE = {
    "purpose",
    "dataset",
    "damaged",
    "data",
    "refine",
    "sampling",
    "compare_with",
    "training",
}


@dataclass(frozen=True)
class Machine:
    """What a training computes on.

    Attributes:
        host: name of the machine.
        device: "cpu" or "cuda".
        threads: of each process of the training.
    """

    host: str
    device: str
    threads: int


@dataclass(frozen=True)
class Pace:
    """How a model trains.

    Attributes:
        images_per_second: of the training.
        bytes: of the registered weights and of all checkpoints at a time.
    """

    images_per_second: float
    bytes: float


def add_estimates(factory: Factory, plan: Iterable[Item]) -> list[Item]:
    """The plan with the times and sizes that are known; nothing is measured where all is fresh."""
    return [_estimate(factory, item) for item in plan]


def _estimate(factory: Factory, item: Item) -> Item:
    params = factory.params
    try:
        if item.action == "ingest":
            needed = bytes_to_ingest(factory.project.root, params.datasets[item.name])
            return replace(item, bytes=needed or None)  # nothing: what is still to be fetched
        if item.action == "train":
            return _estimate_training(factory, item)
    except Exception as error:  # an estimate is never worth a plan
        log.debug("%s  no estimate: %s", item.name, error)
    return item


def _estimate_training(factory: Factory, item: Item) -> Item:
    model = factory.params.models[item.name]
    machine = find_machine(factory.params, model)
    training = model.training
    if training.minutes is not None:
        threads = machine.threads if machine.device == "cpu" else 1
        item = replace(item, seconds=training.minutes * 60 / threads)
    try:
        pace = _read_earlier_run(factory, item.name, machine)
        pace = pace or _measure_once(factory, item.name, machine)
    except Exception as error:  # as above; a budget in minutes is known without it
        log.debug("%s  not measured: %s", item.name, error)
        return item
    if pace is None:
        return item
    if training.kimg is not None:
        item = replace(item, seconds=1000 * training.kimg / pace.images_per_second)
    return replace(item, bytes=pace.bytes or None)


def find_machine(params: Params, model: Model) -> Machine:
    """What a model would be trained on here; torch is asked only where there may be a GPU."""
    device = params.device.split(":")[0]
    if device == "auto":
        device = _ask_torch() if has_driver() else "cpu"
    threads = (os.cpu_count() or 1) if params.threads == "auto" else params.threads
    return Machine(socket.gethostname(), device, max(1, threads // model.training.devices))


def _ask_torch() -> str:
    from atelier.training.device import choose_device

    return choose_device("auto").type


def _what_decides(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Of `Params.as_json`, what the time of a step depends on."""
    model = params["models"][name]
    training = model["training"]
    used = [model["dataset"], model.get("damaged")]
    datasets = [params["datasets"][dataset] for dataset in used if dataset]
    return {
        "model": {key: value for key, value in model.items() if key not in NO_PACE},
        "training": {key: training.get(key) for key in PACE},
        "images": [[dataset.get("image_size"), dataset["channels"]] for dataset in datasets],
    }


def _read_earlier_run(factory: Factory, name: str, machine: Machine) -> Pace | None:
    """Of the newest training that finished, if it was of the same model on this machine."""
    runs = factory.registry.runs
    run = runs.newest_training(name)
    if run is None or "images_per_second" not in run.metrics:
        return None
    where = (run.params.get("device"), run.params.get("threads"))
    if where != (machine.device, str(machine.threads)):
        return None
    if run.tags.get("process.host", machine.host) != machine.host:
        return None
    before = runs.read_json(run.run_id, "params.json")
    if before is None or name not in before["models"]:
        return None
    if _what_decides(before, name) != _what_decides(factory.params.as_json(), name):
        return None
    weights = BYTES_A_WEIGHT * run.metrics.get("cost/parameters", 0)
    copies = 1 + CHECKPOINTS * WEIGHTS_IN_A_CHECKPOINT
    return Pace(run.metrics["images_per_second"], weights * copies)


def _measure_once(factory: Factory, name: str, machine: Machine) -> Pace | None:
    """What was seen when it was measured, now or before; None for what can't be measured."""
    model = factory.params.models[name]
    if not is_measurable(model):
        return None
    root = factory.project.root
    num_classes = [_count_classes(root, used, model) for used in datasets_of(model)]
    inputs = {
        **_what_decides(factory.params.as_json(), name),
        "machine": [machine.host, machine.device, machine.threads],
        "classes": num_classes,
        "code": module_hashes(TRAINING_MODULES[model.kind]),
    }
    key = digest(inputs)
    file = factory.project.cache / "speeds.json"
    known = _read_speeds(file)
    if key not in known:
        from atelier.factory.measurement import measure

        log.info("%s  measuring for a moment how fast it trains here", name)
        measured = measure(factory.project, factory.params, name, num_classes)
        needed = measured.weights_bytes + CHECKPOINTS * measured.checkpoint_bytes
        known[key] = {"images_per_second": measured.images_per_second, "bytes": needed}
        _write_speeds(file, known)
    return Pace(**known[key])


def is_measurable(model: Model) -> bool:
    """Whether a few first steps on noise are like all steps, and soon done."""
    if isinstance(model, RestorationModel) and model.data.extend is not None:
        return False
    if isinstance(model, GanModel) and model.generator.name == "progressive":
        return False  # slower and slower while it grows
    return model.training.devices == 1 and not model.training.compile


def _count_classes(root: Path, dataset: str, model: Model) -> int:
    """Of a dataset as it is stored; what is likely where it isn't."""
    described = root / "data" / dataset / "dataset.json"
    if described.is_file():
        return len(json.loads(described.read_text(encoding="utf-8"))["class_names"])
    if isinstance(model, ClassificationModel):
        return LIKELY_CLASSES
    return LIKELY_CLASSES if isinstance(model, GanModel) and model.conditional else 0


def _read_speeds(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # a cache: what can't be read is measured again
        return {}


def _write_speeds(file: Path, speeds: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(speeds, indent=1), encoding="utf-8")
    temporary.replace(file)
