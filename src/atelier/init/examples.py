"""The complete params.yaml files that are shipped."""

from __future__ import annotations

from pathlib import Path

from atelier.errors import UsageError
from atelier.params.errors import nearest

_ROOM = Path(__file__).parent
# A wheel has them beside this file (pyproject.toml); a checkout at its top.
PACKAGED = _ROOM / "examples"
REPOSITORY = _ROOM.parents[2]


def examples() -> dict[str, Path]:
    """The files by the names that `atelier init --example` takes."""
    if PACKAGED.is_dir():
        paths = sorted(PACKAGED.glob("*.yaml"))
        return {path.stem: path for path in paths}
    shipped = {path.stem: path for path in sorted((REPOSITORY / "examples").glob("*.yaml"))}
    return {"fashion": REPOSITORY / "params.yaml", **shipped}


def read_example(name: str) -> str:
    """The text of one of them.

    Raises:
        UsageError: naming those that there are.
    """
    known = examples()
    if name not in known:
        listed = ", ".join(known)
        raise UsageError(f"no example {name!r}.{nearest(name, list(known))} There are: {listed}.")
    return known[name].read_text(encoding="utf-8")
