"""What the command line asks of Prefect: the schedules, what each did last, and its next run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL

from atelier.errors import AtelierError
from atelier.operate.named import refuse_silent
from atelier.params import Params
from atelier.project import Project
from flows.owner import our_deployments, owner_of, runs_of
from flows.schedules import Changes, synchronise

BEGUN = [
    StateType.RUNNING,
    StateType.COMPLETED,
    StateType.FAILED,
    StateType.CRASHED,
    StateType.CANCELLED,
]


def synchronise_schedules(project: Project, params: Params) -> Changes:
    """Bring the server's schedules to those of params.yaml."""
    with _server() as client:
        return synchronise(client, project, params, owner_of(project))


def schedules_status(project: Project) -> list[dict[str, Any]]:
    """Each of our schedules with its last and its next run, as plain JSON types."""
    with _server() as client:
        deployments = our_deployments(client, owner_of(project))
        return [
            _status_of(client, name, deployment) for name, deployment in sorted(deployments.items())
        ]


@contextmanager
def _server() -> Iterator[SyncPrefectClient]:
    """A client of the server; whatever goes wrong with it is one sentence."""
    address = str(PREFECT_API_URL.value())
    refuse_silent("prefect", address)
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPError as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise AtelierError(
            f"the Prefect server at {address} failed: {first_line}. "
            "See what it wrote; if it is the stack's own: atelier logs prefect."
        ) from None


def _status_of(
    client: SyncPrefectClient, name: str, deployment: DeploymentResponse
) -> dict[str, Any]:
    last = _first_run(client, deployment.id, BEGUN, FlowRunSort.START_TIME_DESC)
    coming = _first_run(
        client, deployment.id, [StateType.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC
    )
    last_run = _run(last) if last else None
    next_moment = _moment(coming.expected_start_time) if coming else None
    return {
        "schedule": name,
        "when": "; ".join(_when(schedule.schedule) for schedule in deployment.schedules),
        "last": last_run,
        "next": next_moment,
    }


def _first_run(
    client: SyncPrefectClient, deployment_id: UUID, states: list[StateType], sort: FlowRunSort
) -> FlowRun | None:
    runs = runs_of(client, [deployment_id], states, sort, limit=1)
    return runs[0] if runs else None


def _run(run: FlowRun) -> dict[str, Any]:
    assert run.state is not None  # every run has one
    at = run.start_time or run.expected_start_time
    message = run.state.message or ""
    return {"run": run.name, "at": _moment(at), "state": run.state.name, "message": message}


def _when(schedule: Any) -> str:
    if isinstance(schedule, CronSchedule):
        return f"{schedule.cron} {schedule.timezone}"
    return f"every {schedule.interval}"


def _moment(moment: Any) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
