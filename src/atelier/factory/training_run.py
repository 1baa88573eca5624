"""One training of a model of params.yaml inside its MLflow run, to a folder of weights.

With `training.devices` above 1 this process starts torch's own launcher, which starts so many of
`atelier.factory.worker`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from atelier.data.store import read_dataset
from atelier.degradations.blur import read_kernels
from atelier.errors import ConfigError, TrainingError
from atelier.factory.built_from import generated_file
from atelier.factory.fingerprint import datasets_of
from atelier.params import Model, Params, RestorationModel, TranslationModel
from atelier.pictures import grid
from atelier.project import Project
from atelier.registry import Registry
from atelier.serving.bundle import write_bundle
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import train_classifier
from atelier.training.cost import cost_of
from atelier.training.device import choose_device, make_deterministic
from atelier.training.distributed import rank, world_size
from atelier.training.extension import read_images
from atelier.training.gan import train_gan
from atelier.training.interruption import Stopped, StopSignals
from atelier.training.restoration import train_restorer
from atelier.training.session import Session, Trained
from atelier.training.translation import train_translation
from atelier.ui.bars import hide_bars
from atelier.ui.progress import Progress

LOOPS: dict[str, Callable[..., Trained]] = {
    "classification": train_classifier,
    "gan": train_gan,
    "restoration": train_restorer,
    "translation": train_translation,
}
# What a registered version of each kind is asked for, and answers.
SERVED_AS = {
    "classification": "classification",
    "gan": "gan",
    "restoration": "restoration",
    "translation": "restoration",
}
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """What a training is told, as plain values that fit into a file.

    Attributes:
        root: the project folder.
        name: the model.
        run_id: its MLflow run.
        fingerprint: of the training.
        bundle: folder that is made at the end: weights, and what it takes to build the network.
        parent: process that waits for it; without it the training stops.
    """

    root: str
    name: str
    run_id: str
    fingerprint: str
    bundle: str
    parent: int


def run_training(job: Job, params: Params, signals: StopSignals) -> None:
    """Train, or go on from the checkpoint, and write the bundle.

    Raises:
        TrainingError: with the reason, if the training fails.
        Stopped: if a signal asked for it; a checkpoint was written.
    """
    if params.models[job.name].training.devices > 1:
        with hide_bars():
            _launch(job, params, signals)
    else:
        train_in_process(job, params, signals)


def train_in_process(job: Job, params: Params, signals: StopSignals) -> None:
    """The training, or this process's part of it; the first process logs and writes the bundle."""
    project = Project(Path(job.root))
    name = job.name
    model = locate_files(project, params, name)
    dataset, *others = (read_dataset(project.root, used) for used in datasets_of(model))
    device, threads = _devices(params)
    is_first = rank() == 0
    folder = project.checkpoints(name, job.fingerprint)
    is_extended = isinstance(model, RestorationModel) and model.data.extend is not None
    generated = read_images(generated_file(folder), dataset.info) if is_extended else None
    session = Session(
        device,
        params.seed,
        Checkpoints(folder, job.fingerprint, writable=is_first),
        on_log=lambda images_seen, values: None,
        on_sample=lambda images_seen, x_BCHW: None,
        stop_requested=lambda: signals.requested() or not _is_alive(job.parent),
        generated_GHWC=generated,
    )
    if not is_first:
        LOOPS[model.kind](model, dataset, session, *others)
        return
    registry = Registry(project)
    registry.runs.log_params(
        job.run_id, {"device": device.type, "threads": threads, "processes": world_size()}
    )
    run_log = registry.run_log(job.run_id)
    progress = Progress(name)

    def on_log(images_seen: int, values: Mapping[str, float]) -> None:
        run_log.metrics(images_seen, values)
        progress.update(images_seen, values)

    def on_sample(images_seen: int, x_BCHW: torch.Tensor) -> None:
        run_log.image(images_seen, "samples", grid(x_BCHW.float().cpu().numpy(), columns=8))

    def on_note(images_seen: int, note: str) -> None:
        registry.runs.note(job.run_id, note)

    try:
        session = replace(session, on_log=on_log, on_sample=on_sample, on_note=on_note)
        trained = LOOPS[model.kind](model, dataset, session, *others)
        run_log.metrics(trained.images_seen, cost_of(trained.network, model, dataset.info, device))
    finally:
        run_log.flush()
    write_bundle(Path(job.bundle), SERVED_AS[model.kind], trained, dataset.info)


def _devices(params: Params) -> tuple[torch.device, int]:
    """This process's device, and its number of CPU threads."""
    device = choose_device(params.device)
    if device.type == "cuda" and world_size() > 1:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device, make_deterministic(params.threads, world_size())


def _launch(job: Job, params: Params, signals: StopSignals) -> None:
    """Start the processes and wait for them; if one dies, torch's launcher ends the others."""
    devices = params.models[job.name].training.devices
    file = Path(job.bundle).with_suffix(".json")
    file.write_text(json.dumps({"job": asdict(job), "params": params.as_json()}), encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    # So the launcher sets none, with a warning; each process sets its own count.
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    process = subprocess.Popen(
        [sys.executable, *launcher, "-m", "atelier.factory.worker", str(file)], env=environment
    )
    was_told = False
    while True:
        try:
            code = process.wait(POLL_SECONDS)
            break
        except subprocess.TimeoutExpired:
            if signals.requested() and not was_told:
                process.terminate()  # it tells the others
                was_told = True
    if signals.requested():
        raise Stopped
    if code:
        reason = file.with_suffix(".error")
        if reason.exists():
            raise TrainingError(reason.read_text(encoding="utf-8"))
        raise TrainingError(
            f"one of the {devices} processes of the training of {job.name} died; the others were "
            "ended. The last checkpoint is whole: run again to go on from there."
        )


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def locate_files(project: Project, params: Params, name: str) -> Model:
    """A model's parameters with the files that they name as they are to be opened on this machine.

    Raises:
        ConfigError: if such a file can't be read, or is another one.
    """
    model = params.models[name]
    if not isinstance(model, (RestorationModel, TranslationModel)) or model.degradation is None:
        return model
    steps = tuple(step.resolve_paths(project.root) for step in model.degradation)
    for step in steps:
        if step.kernel_blur is not None:
            try:
                read_kernels(step.kernel_blur.path, step.kernel_blur.sha256)
            except ValueError as error:
                raise ConfigError(f"models.{name}: {error}") from None
    return model.model_copy(update={"degradation": steps})
