"""The stack's runner: Prefect's process worker, and what is looked after while it waits."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.workers.process import ProcessWorker

from atelier.errors import AtelierError
from atelier.machine.stack_record import read_record
from atelier.operate.parts import ready_file
from atelier.operate.supervisor import is_supervised, servers_of, start_supervisor
from atelier.params import load_params
from atelier.project import Project
from atelier.registry import Registry
from flows import late, zombies
from flows.owner import AGAIN, ensure_pool, our_deployments, owner_of, runs_of

log = logging.getLogger("atelier")

# Processes at once: a training, a look at the data, and two that are told to wait.
LIMIT = 4
LATE_SECONDS = 10.0
SWEEP_SECONDS = 60.0


def main(root: Path) -> None:
    """Run what is due, until a signal ends this process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s")
    os.chdir(root)
    project = Project(root)
    began = datetime.now(UTC)
    owner = owner_of(project)
    with get_client(sync_client=True) as client:
        ensure_pool(client, owner)
        _drop_late(client, project, owner)  # before any of them is begun
        _look_for_dead(client, project, owner, began)
    threading.Thread(target=_look_after, args=(project, owner, began), daemon=True).start()
    worker = ProcessWorker(work_pool_name=owner, name=f"{owner}-runner", limit=LIMIT)
    ready_file(project).write_text(str(os.getpid()))
    asyncio.run(worker.start())


def _look_after(project: Project, owner: str, began: datetime) -> None:
    """While the worker waits: late ticks, dead runs, and the supervisor, if that was killed."""
    last_sweep = time.monotonic()
    while True:
        time.sleep(LATE_SECONDS)
        try:
            _replace_supervisor(project)
            with get_client(sync_client=True) as client:
                _drop_late(client, project, owner)
                if time.monotonic() - last_sweep >= SWEEP_SECONDS:
                    last_sweep = time.monotonic()
                    _look_for_dead(client, project, owner, began)
        except Exception as error:
            # A server that is away comes back; this thread must not end before.
            reason = " ".join(str(error).split()) or type(error).__name__
            log.warning("not looked after: %s", reason)


def _drop_late(client: SyncPrefectClient, project: Project, owner: str) -> None:
    try:
        schedules = load_params(project.params_file).schedules
    except AtelierError as error:  # while somebody edits the file
        log.warning("%s", error)
        return
    for name, deployment in our_deployments(client, owner).items():
        if name in schedules:
            late.drop_late(client, deployment.id, schedules[name].late, datetime.now(UTC))


def _look_for_dead(
    client: SyncPrefectClient, project: Project, owner: str, began: datetime
) -> None:
    zombies.sweep(client, Registry(project))
    for run in _runs_to_repeat(client, owner, began):
        again = client.create_flow_run_from_deployment(
            run.deployment_id,  # type: ignore[arg-type]  # it was asked for by deployment
            parameters=run.parameters,
            name=f"{run.name}-again",
            tags=[AGAIN],
            idempotency_key=f"again-{run.id}",
        )
        log.info("%s was killed (%s) and is begun again as %s", run.name, _why(run), again.name)


def _runs_to_repeat(client: SyncPrefectClient, owner: str, began: datetime) -> list[FlowRun]:
    """Our runs that crashed since this runner began, but for those that are repetitions."""
    deployments = [deployment.id for deployment in our_deployments(client, owner).values()]
    runs = runs_of(client, deployments, [StateType.CRASHED], limit=50)
    return [
        run for run in runs if AGAIN not in run.tags and run.state and run.state.timestamp > began
    ]


def _why(run: FlowRun) -> str:
    return str(run.state.message) if run.state else ""


def _replace_supervisor(project: Project) -> None:
    """Start another supervisor in place of one that was killed.

    It takes the parts over as they are.
    """
    stack = read_record(project.root)
    if stack is None or stack.supervisor.process() is not None or is_supervised(project):
        return
    log.warning("the supervisor was killed: another one is started")
    start_supervisor(project, servers_of(stack))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
