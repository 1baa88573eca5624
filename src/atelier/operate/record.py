"""What is known of the stack outside of its processes: `.atelier/stack/record.json`, which the supervisor writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from atelier.processes import Identity
from atelier.project import Project

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
        return {VARIABLES[name]: part.address for name, part in self.parts.items() if name in VARIABLES}

    @property
    def is_up(self) -> bool:
        """Whether every part does its work."""
        return all(part.state in ("up", "elsewhere") for part in self.parts.values())


def folder(project: Project) -> Path:
    """Where the stack keeps its record and its logs."""
    return project.cache / "stack"


def write_record(project: Project, stack: Stack) -> None:
    """Replace the record, whole or not at all."""
    path = folder(project) / "record.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(stack), indent=1), encoding="utf-8")
    new.replace(path)


def remove_record(project: Project) -> None:
    """To be called when no part of the stack is left."""
    (folder(project) / "record.json").unlink(missing_ok=True)


def read_record(project: Project) -> Stack | None:
    """The record as it stands, whether or not its processes go on; None if there is none."""
    try:
        content: dict[str, Any] = json.loads((folder(project) / "record.json").read_bytes())
        parts = {name: _part(values) for name, values in content["parts"].items()}
        return Stack(content["root"], Identity(**content["supervisor"]), parts)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged: by nobody but a full disk, and then its processes are found another way


def _part(values: dict[str, Any]) -> Part:
    process = values.pop("process")
    return Part(**values, process=Identity(**process) if process else None)


def running_stack(project: Project) -> Stack | None:
    """The stack of this very folder, if its servers go on; decided in milliseconds."""
    stack = read_record(project)
    if stack is None or stack.root != str(project.root):
        return None
    own = [part.process for part in stack.parts.values() if part.process]
    processes = [stack.supervisor, *own]
    return stack if any(identity.process() for identity in processes) else None
