"""Pictures through a model in several processes, one of which may die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from atelier.data.ingest.reading import num_cores
from atelier.data.sources.decoding import quiet_pillow
from atelier.errors import AtelierError, UsageError
from atelier.serving.files.listing import Job
from atelier.serving.files.restoring import Outcome, Wishes, restore_file

# Not forked: torch's threads would be missing in the child.
PROCESSES = multiprocessing.get_context("spawn")
READY = "ready"  # what a worker says that has its model

Load = Callable[[], Any]


@dataclass
class Worker:
    """A process that has the model, and the picture that it is at."""

    process: SpawnProcess
    connection: Connection
    job: Job | None = None  # None: it still loads the model


def restore_in_processes(
    load: Load, wishes: Wishes, jobs: Sequence[Job], num_processes: int
) -> Iterator[tuple[Job, Outcome]]:
    """Restore pictures, in the order in which they are done.

    Args:
        load: gives the model; called in each process, to which it is sent.
        wishes: how.
        jobs: which.
        num_processes: that share the cores.

    Raises:
        AtelierError: if a model can't be loaded, or a result not be written.
    """
    waiting = deque(jobs)
    num_processes = min(num_processes, len(jobs))
    num_threads = max(1, num_cores() // max(1, num_processes))
    workers = [_start(load, wishes, num_threads) for _ in range(num_processes)]
    try:
        while workers:
            for connection in wait([worker.connection for worker in workers]):
                worker = next(each for each in workers if each.connection is connection)
                job = worker.job
                answer = _hear(worker)
                if isinstance(answer, AtelierError):
                    raise answer
                if job is not None:
                    yield job, answer
                if worker.process.exitcode is not None:
                    workers.remove(worker)
                    if waiting:
                        workers.append(_start(load, wishes, num_threads))
                elif waiting:
                    worker.job = waiting.popleft()
                    worker.connection.send(worker.job)
                else:
                    worker.connection.close()  # at which it ends
                    worker.process.join()
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


def _start(load: Load, wishes: Wishes, num_threads: int) -> Worker:
    ours, theirs = PROCESSES.Pipe()
    arguments = (theirs, load, wishes, num_threads)
    process = PROCESSES.Process(target=_work, args=arguments, daemon=True)
    process.start()
    theirs.close()  # so that its end is heard
    return Worker(process, ours)


def _hear(worker: Worker) -> Any:
    """What a worker says; of one that died, what became of its picture.

    Raises:
        UsageError: if it died before it had a picture: so would the next.
    """
    try:
        return worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
    code = worker.process.exitcode or 0
    cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    advice = "mostly for want of memory. Give fewer --jobs"
    if worker.job is None:
        raise UsageError(f"a process ended by {cause} while it loaded the model, {advice}.")
    return Outcome(problem=f"its process was ended by {cause}, {advice}")


def _work(connection: Connection, load: Load, wishes: Wishes, num_threads: int) -> None:
    """Restore what comes, until the connection is closed."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which ends this
    threading.Thread(target=_end_with_command, daemon=True).start()
    torch.set_num_threads(num_threads)
    with quiet_pillow():
        try:
            served = load()
            connection.send(READY)
            while True:
                connection.send(restore_file(served, wishes, connection.recv()))
        except AtelierError as error:
            connection.send(error)
        except EOFError:  # all is done
            return


def _end_with_command() -> None:
    """End this process when the command is killed, which can't end it any more."""
    command = multiprocessing.parent_process()
    if command is not None:
        wait([command.sentinel])
        os._exit(1)
