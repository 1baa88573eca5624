"""Ending the stack: in an order in which nothing that runs is lost, and no process is left."""

from __future__ import annotations

import contextlib
import os

import psutil

from atelier.machine import processes
from atelier.machine.stack_record import Part, Stack, remove_record
from atelier.operate.parts import MARK
from atelier.project import Project

# Together less than the 15 s in which `atelier down` is done.
RUNNER_SECONDS = 0.5
# A training ends its step, writes its checkpoint, and its state to both servers.
FLOW_SECONDS = 11.0
SERVER_SECONDS = 2.0
KILLED_SECONDS = 1.0


def end_stack(project: Project, stack: Stack) -> None:
    """End all processes of a stack but this one, and remove its record."""
    servers = [*_trees(stack.parts.get("prefect")), *_trees(stack.parts.get("mlflow"))]
    runner = _trees(stack.parts.get("runner"), alone=True)
    kept = {process.pid for process in [*servers, *runner]} | {os.getpid(), stack.supervisor.pid}
    processes.end(_others(stack, kept), FLOW_SECONDS)
    processes.end(runner, RUNNER_SECONDS)
    processes.end(_others(stack, kept), RUNNER_SECONDS)  # what it began meanwhile
    processes.end(servers, SERVER_SECONDS)
    survivors = _others(stack, {os.getpid()})
    for process in survivors:
        with contextlib.suppress(psutil.Error):
            process.kill()
    processes.wait_for(survivors, KILLED_SECONDS)
    remove_record(project.root)


def _others(stack: Stack, kept: set[int]) -> list[psutil.Process]:
    """The processes with the stack's mark but for those of some pids."""
    marked = processes.with_variable(MARK, stack.root)
    return [process for process in marked if process.pid not in kept]


def _trees(part: Part | None, alone: bool = False) -> list[psutil.Process]:
    """A part's process, and what it started itself."""
    process = part.process.process() if part and part.process else None
    if process is None:
        return []
    return [process] if alone else processes.tree(process)
