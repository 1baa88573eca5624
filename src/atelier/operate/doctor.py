"""Checks of the machine and the project that answer "why doesn't it work here?"."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Any

from atelier.data.versions import dvc
from atelier.errors import AtelierError
from atelier.project import Project
from atelier.review.history import every_version

if TYPE_CHECKING:
    from atelier.registry import Registry, Version

MIN_FREE_GB = 2.0  # data, cache and remote of Fashion-MNIST take 0.2 GB, the demo's registry 0.1 GB


@dataclass(frozen=True)
class Check:
    """One finding; `advice` is empty where all is well."""

    name: str
    ok: bool
    found: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def check_all(project: Project) -> list[Check]:
    """All checks; none changes anything, except that a missing registry database is created."""
    checks: list[Callable[[Project], Check]] = [
        _python,
        _packages,
        _torch,
        _params,
        _dvc,
        _registry,
        _ledger,
        _versions,
        _disk,
    ]
    return [check(project) for check in checks]


def _python(project: Project) -> Check:
    installed = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    return Check("Python", ok, installed, "" if ok else "Use Python 3.11 or newer.")


def _packages(project: Project) -> Check:
    """Bounds of pyproject.toml, which pip doesn't enforce once something was installed on top."""
    from packaging.requirements import Requirement

    wrong = []
    for line in requires("atelier") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} (needs {requirement.specifier})")
    advice = "Run: pip install -e . -c constraints.txt" if wrong else ""
    return Check("packages", not wrong, "; ".join(wrong) or "all within their bounds", advice)


def _torch(project: Project) -> Check:
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    threads = torch.get_num_threads()
    names = ", ".join(gpus) or "none"
    return Check("torch", True, f"torch {torch.__version__}, {threads} CPU threads, GPUs: {names}")


def _params(project: Project) -> Check:
    from atelier.params import load_params
    from atelier.training.device import choose_device

    try:
        params = load_params(project.params_file)
        choose_device(params.device)
    except AtelierError as error:
        return Check("params.yaml", False, str(error), "Fix the file.")
    return Check(
        "params.yaml", True, f"{len(params.datasets)} datasets, {len(params.models)} models"
    )


def _dvc(project: Project) -> Check:
    try:
        md5 = dvc.data_md5(project.root)
        if md5 is None:
            return Check("data", True, "nothing is versioned yet")
        is_clean = dvc.is_clean(project.root)
        in_remote = dvc.in_remote(project.root)
    except AtelierError as error:
        return Check("data", False, str(error), "See the message.")
    copy = "that version" if is_clean else "not that version"
    remote = "in the remote" if in_remote else "not in the remote"
    ok = is_clean and in_remote
    advice = "" if ok else "Run: atelier ingest"
    return Check("data", ok, f"{md5}; data/ is {copy}; {remote}", advice)


def _registry(project: Project) -> Check:
    try:
        names = _open_registry(project).model_names()
    except AtelierError as error:
        return Check("registry", False, str(error), "See the message.")
    return Check("registry", True, f"{len(names)} registered models")


def _open_registry(project: Project) -> Registry:
    from atelier.registry import Registry

    return Registry(project)


def _ledger(project: Project) -> Check:
    """Whether every decision is there, and the aliases are where the decisions put them."""
    from atelier.promotion import disagreements

    problems = []
    count = 0
    try:
        registry = _open_registry(project)
        names = registry.model_names()
    except AtelierError as error:
        return Check("ledger", False, str(error), "See the message.")
    for name in names:
        try:
            problems += disagreements(registry, name)
            count += len(registry.ledger.entries(name))
        except AtelierError as error:
            problems.append(str(error))
    text = "; ".join(problems) or f"{count} decisions, and the aliases are where they say"
    advice = "See the messages; atelier ledger." if problems else ""
    return Check("ledger", not problems, text, advice)


def _versions(project: Project) -> Check:
    """Whether every version's run is there, and the files of champions."""
    from atelier.registry import CHAMPION

    try:
        registry = _open_registry(project)
        versions = list(every_version(registry))
        losses = [(version, _explain_loss(registry, version)) for version in versions]
        champions = [version for version in versions if CHAMPION in version.aliases]
        losses += [(version, registry.why_unservable(version)) for version in champions]
    except AtelierError as error:
        return Check("versions", False, str(error), "See the message.")
    problems = [f"{version}: {loss}" for version, loss in losses if loss]
    whole = f"{len(versions)} versions with their runs, champions with their files"
    advice = "Bring back what is missing, or: atelier rollback MODEL." if problems else ""
    return Check("versions", not problems, "; ".join(problems) or whole, advice)


def _explain_loss(registry: Registry, version: Version) -> str:
    """Why a version's run, or its files, are lost; empty if they are there."""
    return registry.explain_loss(version) or registry.runs.why_without_files(version.run_id)


def _disk(project: Project) -> Check:
    free = shutil.disk_usage(project.root).free / 1e9
    ok = free > MIN_FREE_GB
    return Check("disk", ok, f"{free:.1f} GB free", "" if ok else "Make room.")
