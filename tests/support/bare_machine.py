"""An environment as on a machine that has torch and little else.

`python -m tests.support.bare_machine FOLDER` fills FOLDER with links to the packages that such a
machine has (the issue of benchmarks/gpu.py lists them) and to what they require. `python -S` with
FOLDER in PYTHONPATH then knows no other.
"""

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

THERE = (
    "torch numpy pandas pillow pyarrow rich typer jinja2 safetensors torchmetrics scipy pytest"
).split()

# What others of them require here, but not there; benchmarks/gpu_carry.sh collects it.
CARRIED = {"pydantic", "pydantic-core", "ruamel-yaml"}


def with_requirements(names, missing):
    """These distributions and all that they require, but for what is missing."""
    reached = {}
    left = list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name in reached or name in missing:
            continue
        try:
            reached[name] = distribution(name)
        except PackageNotFoundError:  # of another system or Python
            continue
        for requirement in map(Requirement, reached[name].requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    return list(reached.values())


def link_packages(folder, carried=False):
    """Link each module or package into a folder; those that would be carried if asked to."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*THERE, *CARRIED] if carried else THERE
    for package in with_requirements(names, set() if carried else CARRIED):
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(package.locate_file(top)))


if __name__ == "__main__":
    link_packages(Path(sys.argv[1]))
