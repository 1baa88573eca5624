"""How the parts of the stack are, as plain JSON types."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from atelier.machine.processes import Identity, memory_mb, tree
from atelier.machine.stack_record import read_record
from atelier.operate.parts import page
from atelier.project import Project


def status_of_parts(project: Project) -> list[dict[str, Any]]:
    """The supervisor first, then each part; empty if the stack was never up or went down."""
    stack = read_record(project.root)
    if stack is None or stack.root != str(project.root):
        return []
    state = "up" if stack.supervisor.process() else "gone"
    found = [_described("supervisor", "", state, stack.supervisor, 0.0, 0, "", alone=True)]
    for part in stack.parts.values():
        state = part.state
        if part.process is not None and part.process.process() is None:
            state = "gone"
        address = page(part.name, part.address)
        found.append(
            _described(
                part.name, address, state, part.process, part.since, part.restarts, part.problem
            )
        )
    return found


def _described(
    name: str,
    address: str,
    state: str,
    identity: Identity | None,
    since: float,
    restarts: int,
    problem: str,
    alone: bool = False,
) -> dict[str, Any]:
    process = identity.process() if identity else None
    began = since or (identity.started if identity else 0.0)
    return {
        "part": name,
        "state": state,
        "address": address,
        "pid": identity.pid if process and identity else None,
        "since": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds")
        if process
        else None,
        "memory_mb": round(memory_mb([process] if alone else tree(process))) if process else None,
        "restarts": restarts,
        "problem": problem,
    }
