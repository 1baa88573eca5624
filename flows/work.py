"""What each flow that changes a project does first: sign, hold the project, look for the dead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run

from atelier.machine.processes import identify
from atelier.project import Project, exclusive
from atelier.registry import Registry
from atelier.registry.connection import patient
from flows import zombies
from flows.lease import shares_a_server

BEAT_SECONDS = 60.0


@contextmanager
def at_work(project: Project) -> Iterator[None]:
    """Hold the project for the flow run of this context, which says in Prefect what its process is.

    Raises:
        UsageError: if another run holds it, saying which.
    """
    run_id = UUID(str(flow_run.id))
    _sign(run_id)
    with exclusive(project, _who()), patient():
        with get_client(sync_client=True) as client:
            zombies.sweep(client, Registry(project))
        with _beating(run_id):
            yield


def _who() -> str:
    """This run in words, for those who have to wait for it."""
    name = str(flow_run.name)
    return f"{name} of the schedule {deployment.name}" if deployment.name else f"{name}, by hand"


def _sign(run_id: UUID) -> None:
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run_id, zombies.labels_of(identify(), datetime.now(UTC)))


@contextmanager
def _beating(run_id: UUID) -> Iterator[None]:
    """Renew the sign of life on a server, where a run on another machine can't be looked at."""
    if not shares_a_server():
        yield
        return
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            try:
                _sign(run_id)
            except Exception:  # the server may be away for a while; the window is five beats
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
