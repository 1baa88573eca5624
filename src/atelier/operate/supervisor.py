"""The one process that starts the parts of the stack, and starts them again when they die.

What it knows stands in the record, so that one that was killed is replaced by another, which takes
over the parts as they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import psutil

from atelier.machine.processes import identify, with_variable
from atelier.machine.stack_record import (
    VARIABLES,
    Part,
    Stack,
    folder,
    make_folder,
    read_record,
    write_record,
)
from atelier.operate.ending import end_stack
from atelier.operate.parts import MARK, Definition, Servers, definitions, does_its_work
from atelier.project import Project, open_lock, set_environment

LOCK = "stack"
POLL_SECONDS = 0.3
# Who only asks whether there is a supervisor holds its lock for a moment; it must keep none away.
PATIENCE_SECONDS = 1.0
LOCK_POLL_SECONDS = 0.05
# A part that died so often within so many seconds is left, with its last words in the record.
MANY_DEATHS = 5
DEATHS_SECONDS = 60.0
LONGEST_PAUSE = 8.0
LOG_BYTES = 5 * 2**20  # of a log that is put aside when its part is started
LAST_WORDS = 400  # characters


class AlreadySupervisedError(Exception):
    """Another supervisor watches the stack."""


class Supervisor:
    """Watches the parts of one project's stack until it is told to stop."""

    def __init__(self, project: Project, servers: Servers) -> None:
        self.project = project
        self.definitions = definitions(project, servers)
        self.stack = self._take_over(servers)
        self.deaths: dict[str, list[float]] = {name: [] for name in self.stack.parts}
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.stop = False

    def watch(self) -> None:
        """Start what has to be started, again and again; at the end all parts are ended."""
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, self._ask_to_stop)
        while not self.stop:
            before = self.stack
            for definition in self.definitions:
                self._look_after(definition)
            if self.stack != before or read_record(self.project.root) != self.stack:
                # A full disk, or a folder that was moved, must not end what goes on: tried again.
                with contextlib.suppress(OSError):
                    write_record(self.project.root, self.stack)
            time.sleep(POLL_SECONDS)
        end_stack(self.project, self.stack)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop = True

    def _take_over(self, servers: Servers) -> Stack:
        """Adopt the record's parts as far as they go on; all others are to be started."""
        before = read_record(self.project.root)
        recorded = before.parts if before and before.root == str(self.project.root) else {}
        parts = {}
        for name, address in servers.addresses.items():
            if name not in servers.own:
                parts[name] = Part(name, address, "elsewhere")
        for definition in self.definitions:
            part = recorded.get(definition.name)
            if part is None or part.process is None or part.process.process() is None:
                part = Part(definition.name, definition.address, "waiting")
            parts[definition.name] = part
        stack = Stack(str(self.project.root), identify(), parts)
        write_record(self.project.root, stack)
        return stack

    def _look_after(self, definition: Definition) -> None:
        part = self.stack.parts[definition.name]
        self._reap()
        if part.state in ("starting", "up") and part.process is not None:
            if part.process.process() is None:
                self._note_death(part)
            elif part.state == "starting":
                if does_its_work(self.project, definition, part.process.pid):
                    self.stack = self.stack.with_part(replace(part, state="up"))
        elif part.state == "waiting" and self._may_start(definition):
            self._start(definition, part)

    def _may_start(self, definition: Definition) -> bool:
        if any(self.stack.parts[name].state != "up" for name in definition.needs):
            return False
        deaths = self.deaths[definition.name]
        if not deaths:
            return True
        pause = min(LONGEST_PAUSE, 0.5 * 2 ** len(deaths))
        return bool(time.monotonic() - deaths[-1] > pause)

    def _start(self, definition: Definition, part: Part) -> None:
        log = log_file(self.project, definition.name)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".old.log"))
        with log.open("ab") as output:
            child = subprocess.Popen(
                definition.command,
                cwd=self.project.root,
                env={**os.environ, **definition.environment, MARK: str(self.project.root)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal of `up --foreground` is for the supervisor.
                start_new_session=True,
            )
        self.children[child.pid] = child
        started = replace(part, state="starting", process=identify(child.pid), since=time.time())
        self.stack = self.stack.with_part(replace(started, problem=""))

    def _end_children(self, part: Part) -> None:
        """End what a server that was killed left behind.

        It would hold the port, and the server's next one fail.
        """
        if part.process is None or part.name not in VARIABLES:
            return  # what the runner began goes on: trainings
        for process in with_variable(MARK, str(self.project.root)):
            with contextlib.suppress(OSError, psutil.Error):
                if os.getpgid(process.pid) == part.process.pid:  # each part leads a group
                    process.kill()

    def _note_death(self, part: Part) -> None:
        self._end_children(part)
        deaths = self.deaths[part.name]
        deaths.append(time.monotonic())
        recent = [moment for moment in deaths if moment > deaths[-1] - DEATHS_SECONDS]
        self.deaths[part.name] = recent
        ended = replace(part, process=None, restarts=part.restarts + 1, state="waiting")
        if len(recent) >= MANY_DEATHS:
            words = last_words(self.project, part.name)
            problem = f"died {MANY_DEATHS} times in a minute: {words}"
            ended = replace(ended, state="failed", problem=problem)
        self.stack = self.stack.with_part(ended)

    def _reap(self) -> None:
        """Take the exit codes of ended children, which would stay zombies otherwise."""
        self.children = {pid: child for pid, child in self.children.items() if child.poll() is None}


def log_file(project: Project, part: str) -> Path:
    """Where a part's output goes."""
    return folder(project.root) / f"{part}.log"


def last_words(project: Project, part: str) -> str:
    """The end of a part's log, on one line."""
    try:
        text = log_file(project, part).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "no log"
    return " ".join(text[-4 * LAST_WORDS :].split())[-LAST_WORDS:]


def start_supervisor(project: Project, servers: Servers) -> subprocess.Popen[bytes]:
    """Start one that outlives this process and its terminal."""
    make_folder(project.root)
    servers_json = json.dumps(asdict(servers))
    command = [sys.executable, "-m", "atelier.operate.supervisor", str(project.root), servers_json]
    with log_file(project, "supervisor").open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=project.root,
            env={**os.environ, MARK: str(project.root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def servers_of(stack: Stack) -> Servers:
    """Where the servers of a stack are, for another supervisor of it."""
    servers = [part for name, part in stack.parts.items() if name in VARIABLES]
    own = tuple(part.name for part in servers if part.state != "elsewhere")
    return Servers({part.name: part.address for part in servers}, own)


@contextlib.contextmanager
def supervising(project: Project, patience: float = 0.0) -> Iterator[None]:
    """Be the one supervisor of a project's stack.

    Args:
        project: the project.
        patience: seconds for which a lock that is held is tried again.

    Raises:
        AlreadySupervisedError: if there is another.
    """
    with open_lock(project, LOCK) as lock:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise AlreadySupervisedError from None
            time.sleep(LOCK_POLL_SECONDS)
        yield


def is_supervised(project: Project) -> bool:
    """Whether some supervisor watches the stack."""
    try:
        with supervising(project):
            return False
    except AlreadySupervisedError:
        return True


def supervise(project: Project, servers: Servers) -> None:
    """Watch the stack in this process until a signal ends it.

    Raises:
        AlreadySupervisedError: if another process does.
    """
    set_environment(project, stack=False)
    make_folder(project.root)
    with supervising(project, PATIENCE_SECONDS):
        Supervisor(project, servers).watch()


if __name__ == "__main__":
    with contextlib.suppress(AlreadySupervisedError):
        given = json.loads(sys.argv[2])
        servers_given = Servers(given["addresses"], tuple(given["own"]))
        supervise(Project(Path(sys.argv[1])), servers_given)
