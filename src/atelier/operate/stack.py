"""`atelier up` and `atelier down`: the stack of a project is brought to life, and ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from atelier.data.versions.objects import check_repository
from atelier.errors import AtelierError, UsageError
from atelier.machine import processes
from atelier.machine.stack_record import VARIABLES, Stack, read_record, remove_record, running_stack
from atelier.operate import parts
from atelier.operate.ending import end_stack
from atelier.operate.named import refuse_silent
from atelier.operate.parts import Servers
from atelier.operate.readiness import refuse_broken_databases, refuse_full_disk
from atelier.operate.supervisor import is_supervised, last_words, start_supervisor
from atelier.project import Project
from atelier.registry import Registry
from atelier.registry.connection import mend_places

UP_SECONDS = 180.0  # a slow disk, and databases that are made anew
SUPERVISOR_SECONDS = 10.0  # until one that is being started has its lock
DOWN_SECONDS = 20.0
POLL_SECONDS = 0.1


def prepare(project: Project, ports: Mapping[str, int | None]) -> Servers | None:
    """Where the servers of a stack that is to be started will be; None if it goes on already.

    Raises:
        UsageError: if there can't be one: no repository, a port that is taken, the stack of
            another folder.
        AtelierError: if a server that the environment names doesn't answer.
    """
    check_repository(project.root)
    if not (project.root / ".git").exists():
        raise UsageError(f"{project.root} is no git repository. Run there: atelier init")
    _refuse_other_folders(project)
    if is_supervised(project):
        return None
    addresses = _addresses(project, ports)
    own = tuple(name for name, variable in VARIABLES.items() if not os.environ.get(variable))
    refuse_full_disk(project)
    refuse_broken_databases(project, own)
    if "mlflow" in own:
        mend_places(project)
    return Servers(addresses, own)


def bring_up(project: Project, servers: Servers | None) -> Stack:
    """Start the supervisor if it is not there, and wait until every part does its work.

    Raises:
        AtelierError: if one doesn't come up. What was started here is ended; of a stack that was
            there before, the others go on, and so does one that is only slow.
    """
    process = start_supervisor(project, servers) if servers else None
    try:
        stack = _wait_until_up(project, process)
    except AtelierError:
        if process is not None:
            take_down(project)
        raise
    except KeyboardInterrupt:
        if process is not None:
            take_down(project)
        raise AtelierError("stopped; what this `atelier up` had started is ended.") from None
    if stack is None:
        raise AtelierError(
            f"the stack is not up after {UP_SECONDS:.0f} s, and goes on starting. "
            "See: atelier status, atelier logs. To end it: atelier down."
        )
    return stack


def _wait_until_up(project: Project, process: subprocess.Popen[bytes] | None) -> Stack | None:
    """The stack once it is up; None if that takes too long."""
    deadline = time.monotonic() + UP_SECONDS
    last_supervised = time.monotonic()
    while time.monotonic() < deadline:
        stack = running_stack(project.root)
        if is_supervised(project):
            last_supervised = time.monotonic()
            if stack is not None and stack.is_up:
                return stack
            if stack is not None:
                _refuse_failures(stack, process is not None)
        elif _has_ended(process, last_supervised):
            words = last_words(project, "supervisor")
            raise AtelierError(f"the stack did not start, or was ended meanwhile. {words}".strip())
        time.sleep(POLL_SECONDS)
    return None


def _has_ended(process: subprocess.Popen[bytes] | None, last_supervised: float) -> bool:
    """Whether a supervisor that was waited for is gone; one of another process may be late."""
    if process is not None:
        return process.poll() is not None
    return time.monotonic() - last_supervised > SUPERVISOR_SECONDS


def take_down(project: Project) -> bool:
    """End every process of the stack; False if there is none.

    Raises:
        UsageError: if it is another user's.
    """
    stack = read_record(project.root)
    if stack is None:
        return _end_unrecorded(project)
    if _is_a_copy(project, stack):
        return False
    _refuse_foreign(stack)
    supervisor = stack.supervisor.process()
    if supervisor is None:
        is_alive = _has_living_parts(stack)
        end_stack(project, stack)
        return is_alive
    supervisor.terminate()
    if not processes.wait_for([supervisor], DOWN_SECONDS):
        supervisor.kill()
        end_stack(project, stack)
    remove_record(project.root)  # of a project that was moved, the supervisor knows the old place
    return True


def _addresses(project: Project, ports: Mapping[str, int | None]) -> dict[str, str]:
    """Where both servers are; a port that is asked for is given before another takes it."""
    addresses = {}
    given: list[int] = []
    for name in sorted(VARIABLES, key=lambda name: ports[name] is None):
        address = os.environ.get(VARIABLES[name])
        if address:
            _refuse_unusable(project, name, address)
            addresses[name] = address
        else:
            addresses[name] = _own_address(project, name, ports[name], given)
            given.append(parts.port_of(addresses[name]) or 0)
    return addresses


def _own_address(project: Project, name: str, demand: int | None, given: Sequence[int]) -> str:
    """Of a server that is to be started; one that goes on without a supervisor keeps its own."""
    before = read_record(project.root)
    part = before.parts.get(name) if before and before.root == str(project.root) else None
    last_port = None
    if part is not None and part.state != "elsewhere":
        if part.process and part.process.process():
            return part.address
        last_port = parts.port_of(part.address)
    return parts.client_address(name, parts.choose_port(name, demand, last_port, given))


def _refuse_unusable(project: Project, name: str, address: str) -> None:
    """Stop if a server that the environment names isn't there, or can't be used."""
    if name == "mlflow" and not address.startswith(("http://", "https://")):
        Registry(project)
    else:
        refuse_silent(name, address)


def _refuse_other_folders(project: Project) -> None:
    """Stop if the project was moved while its stack went on in the old place."""
    stack = read_record(project.root)
    if stack is None or stack.root == str(project.root) or _is_a_copy(project, stack):
        return
    if stack.supervisor.process() or _has_living_parts(stack):
        raise UsageError(
            f"this project was moved from {stack.root} while its stack went on. "
            "End that one first: atelier down. Then: atelier up."
        )


def _has_living_parts(stack: Stack) -> bool:
    return any(part.process and part.process.process() for part in stack.parts.values())


def _is_a_copy(project: Project, stack: Stack) -> bool:
    """Whether a record came here with a copy of another project, which still has it."""
    other = Project(Path(stack.root))
    return stack.root != str(project.root) and read_record(other.root) is not None


def _refuse_failures(stack: Stack, is_ended: bool) -> None:
    failed = [part for part in stack.parts.values() if part.state == "failed"]
    if not failed:
        return
    problems = "\n  ".join(f"{part.name} {part.problem}" for part in failed)
    if is_ended:
        advice = "All was ended again. See `atelier logs PART`; when it is mended: atelier up."
    else:
        advice = "What works goes on. See `atelier logs PART`; then: atelier down, atelier up."
    raise AtelierError(f"the stack is not up:\n  {problems}\n{advice}")


def _refuse_foreign(stack: Stack) -> None:
    """Stop if this user may not end the stack's processes."""
    identities = [stack.supervisor]
    identities += [part.process for part in stack.parts.values() if part.process]
    for identity in identities:
        process = identity.process()
        if process is not None and os.geteuid() not in (0, process.uids().real):
            raise UsageError(
                f"the stack of {stack.root} belongs to the user {process.username()} (process "
                f"{process.pid}). Only that user, or root, can end it: atelier down."
            )


def _end_unrecorded(project: Project) -> bool:
    """End what carries the project's mark, where record and supervisor were both lost."""
    marked = processes.with_variable(parts.MARK, str(project.root))
    others = [process for process in marked if process.pid != os.getpid()]
    processes.end(others, DOWN_SECONDS)
    return bool(others)
