"""What is known of the stack outside of its processes.

It stands in `.atelier/stack/record.json`, which the supervisor writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from atelier.errors import UsageError
from atelier.machine.processes import Identity

VARIABLES = {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI"}
State = Literal["starting", "up", "waiting", "failed", "elsewhere"]


@dataclass(frozen=True)
class Part:
    """One process of the stack, or a server that somebody else keeps."""

    name: str
    address: str  # what its clients are told; empty: it has none
    state: State
    process: Identity | None = None
    since: float = 0.0  # when it was started, in seconds since 1970
    restarts: int = 0
    problem: str = ""  # its last words, where it died too often


@dataclass(frozen=True)
class Stack:
    """The stack of one project."""

    root: str  # the project's folder when it was started
    supervisor: Identity
    parts: Mapping[str, Part] = field(default_factory=dict)

    def with_part(self, part: Part) -> Stack:
        """The same, with one part as it is now."""
        return replace(self, parts={**self.parts, part.name: part})

    def variables(self) -> dict[str, str]:
        """What clients of both servers have to find in their environment."""
        return {
            VARIABLES[name]: part.address for name, part in self.parts.items() if name in VARIABLES
        }

    @property
    def is_up(self) -> bool:
        """Whether every part does its work."""
        return all(part.state in ("up", "elsewhere") for part in self.parts.values())


def folder(root: Path) -> Path:
    """Where the stack keeps its record and its logs."""
    return root / ".atelier" / "stack"


def make_folder(root: Path) -> Path:
    """The same, made if it is missing.

    Raises:
        UsageError: if it can't be.
    """
    path = folder(root)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} can't be made a folder: {error.strerror}. The stack keeps its record and its "
            "logs there; move away what is in its place, or see who owns it."
        ) from None
    return path


def write_record(root: Path, stack: Stack) -> None:
    """Replace the record, whole or not at all."""
    path = folder(root) / "record.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(stack), indent=1), encoding="utf-8")
    new.replace(path)


def remove_record(root: Path) -> None:
    """To be called when no part of the stack is left."""
    (folder(root) / "record.json").unlink(missing_ok=True)


def read_record(root: Path) -> Stack | None:
    """The record as it stands, whether or not its processes go on; None if there is none."""
    try:
        content: dict[str, Any] = json.loads((folder(root) / "record.json").read_bytes())
        parts = {name: _part(values) for name, values in content["parts"].items()}
        return Stack(str(content["root"]), _identity(content["supervisor"]), parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # damaged, or of another version: a supervisor that goes on writes it anew


def _part(values: dict[str, Any]) -> Part:
    state = values["state"]
    if state not in get_args(State):
        raise ValueError(f"no state of a part: {state!r}")
    return Part(
        name=str(values["name"]),
        address=str(values["address"]),
        state=state,
        process=_identity(values["process"]) if values["process"] else None,
        since=float(values["since"]),
        restarts=int(values["restarts"]),
        problem=str(values["problem"]),
    )


def _identity(values: dict[str, Any]) -> Identity:
    pid = int(values["pid"])
    if pid <= 0:
        raise ValueError(f"no pid: {pid}")
    return Identity(str(values["host"]), pid, float(values["started"]))


def running_stack(root: Path) -> Stack | None:
    """The stack of this very folder, if its servers go on; decided in milliseconds."""
    stack = read_record(root)
    if stack is None or stack.root != str(root):
        return None
    own = [part.process for part in stack.parts.values() if part.process]
    processes = [stack.supervisor, *own]
    return stack if any(identity.process() for identity in processes) else None
