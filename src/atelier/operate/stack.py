"""`atelier up` and `atelier down`: the stack of a project is brought to life, and ended."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from atelier.data.objects import check_repository
from atelier.errors import AtelierError, UsageError
from atelier.operate import parts
from atelier.operate.ending import end_stack
from atelier.operate.parts import Servers
from atelier.operate.record import VARIABLES, Stack, read_record, running_stack
from atelier.operate.supervisor import is_supervised, last_words, start_supervisor
from atelier.processes import wait_for
from atelier.project import Project

UP_SECONDS = 180.0  # a slow disk, and databases that are made anew
DOWN_SECONDS = 20.0
POLL_SECONDS = 0.1


def prepare(project: Project, ports: Mapping[str, int | None]) -> Servers | None:
    """Where the servers of a stack that is to be started will be; None if it goes on already.

    Raises:
        UsageError: if there can't be one: no repository, a port that is taken, the stack of another folder.
        AtelierError: if a server that the environment names doesn't answer.
    """
    check_repository(project.root)
    if not (project.root / ".git").exists():
        raise UsageError(f"{project.root} is no git repository. Run there: git init && dvc init")
    _refuse_other_folders(project)
    if is_supervised(project):
        return None
    addresses = {}
    own = []
    for name, variable in VARIABLES.items():
        if named := os.environ.get(variable):
            _refuse_silent(name, variable, named)
            addresses[name] = named
        else:
            own.append(name)
            addresses[name] = _own_address(project, name, ports[name])
    return Servers(addresses, tuple(own))


def bring_up(project: Project, servers: Servers | None) -> Stack:
    """Start the supervisor if it is not there, and wait until every part does its work.

    Raises:
        AtelierError: if one doesn't come up; the others go on.
    """
    process = start_supervisor(project, servers) if servers else None
    deadline = time.monotonic() + UP_SECONDS
    while time.monotonic() < deadline:
        stack = running_stack(project)
        if stack is not None and is_supervised(project):
            if stack.is_up:
                return stack
            _refuse_failed(stack)
        elif process is not None and process.poll() is not None:
            words = last_words(project, "supervisor")
            raise AtelierError(f"the stack did not start: {words}")
        time.sleep(POLL_SECONDS)
    raise AtelierError(f"the stack is not up after {UP_SECONDS:.0f} s. See: atelier status, atelier logs")


def take_down(project: Project) -> bool:
    """End every process of the stack; False if there is none.

    Raises:
        UsageError: if a run that was started by hand uses it.
        AtelierError: if it doesn't end.
    """
    stack = read_record(project)
    if stack is None or _is_a_copy(project, stack):
        return False
    supervisor = stack.supervisor.process()
    if supervisor is None:
        alive = any(part.process and part.process.process() for part in stack.parts.values())
        end_stack(project, stack)
        return alive
    supervisor.terminate()
    if not wait_for([supervisor], DOWN_SECONDS):
        supervisor.kill()
        end_stack(project, stack)
    return True


def _own_address(project: Project, name: str, asked: int | None) -> str:
    """Of a server that is to be started; one that goes on without a supervisor keeps its own."""
    before = read_record(project)
    part = before.parts.get(name) if before and before.root == str(project.root) else None
    if part is None or part.state == "elsewhere":
        return parts.client_address(name, parts.choose_port(name, asked, None))
    if part.process and part.process.process():
        return part.address
    return parts.client_address(name, parts.choose_port(name, asked, parts.port_of(part.address)))


def _refuse_silent(name: str, variable: str, address: str) -> None:
    """Stop if a server that the environment names isn't there."""
    if not address.startswith(("http://", "https://")):
        return  # MLflow's own database, which is a file
    health = parts.page(name, address).rstrip("/") + parts.HEALTH[name]
    if not parts.answers(health):
        raise AtelierError(
            f"{variable} is {address}, and nothing answers there. Start that server, or unset {variable} to let "
            "`atelier up` start one of its own."
        )


def _refuse_other_folders(project: Project) -> None:
    """Stop if the project was moved while its stack went on in the old place."""
    stack = read_record(project)
    if stack is None or stack.root == str(project.root) or _is_a_copy(project, stack):
        return
    if stack.supervisor.process() or any(part.process and part.process.process() for part in stack.parts.values()):
        raise UsageError(
            f"this project was moved from {stack.root} while its stack went on. "
            "End that one first: atelier down. Then: atelier up."
        )


def _is_a_copy(project: Project, stack: Stack) -> bool:
    """Whether a record came here with a copy of another project, which still has it."""
    other = Project(Path(stack.root))
    return stack.root != str(project.root) and read_record(other) is not None


def _refuse_failed(stack: Stack) -> None:
    failed = [f"{part.name} {part.problem}" for part in stack.parts.values() if part.state == "failed"]
    if failed:
        problems = "\n  ".join(failed)
        raise AtelierError(
            f"the stack is not up:\n  {problems}\n"
            "What works goes on. See `atelier logs PART`; when it is mended: atelier down, then atelier up."
        )
