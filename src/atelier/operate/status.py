"""How the parts of the stack are, as plain JSON types."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from atelier.machine.processes import memory_mb, tree
from atelier.machine.stack_record import Part, read_record
from atelier.operate.parts import page
from atelier.project import Project


def status_of_parts(project: Project) -> list[dict[str, Any]]:
    """The supervisor first, then each part; empty if the stack was never up or went down."""
    stack = read_record(project.root)
    if stack is None or stack.root != str(project.root):
        return []
    supervisor = Part("supervisor", "", "up", stack.supervisor)
    return [_status_of(supervisor), *map(_status_of, stack.parts.values())]


def _status_of(part: Part) -> dict[str, Any]:
    process = part.process.process() if part.process else None
    is_gone = part.process is not None and process is None
    state = "gone" if is_gone else part.state
    status: dict[str, Any] = {
        "part": part.name,
        "state": state,
        "address": page(part.name, part.address),
        "pid": None,
        "since": None,
        "memory_mb": None,
        "restarts": part.restarts,
        "problem": part.problem,
    }
    if process is not None and part.process is not None:
        began = datetime.fromtimestamp(part.since or part.process.started, UTC)
        # All others descend from the supervisor; they are counted with their parts.
        family = [process] if part.name == "supervisor" else tree(process)
        status["pid"] = part.process.pid
        status["since"] = began.isoformat(timespec="seconds")
        status["memory_mb"] = round(memory_mb(family))
    return status
