"""Schedules as desired state: the server's deployments are brought to what params.yaml declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule
from prefect.utilities.callables import parameter_schema

from atelier.params import Params, Schedule
from atelier.project import Project
from flows.lease import ensure_limit
from flows.owner import deployment_name, ensure_pool, our_deployments
from flows.tick import tick, watch

WATCH = "watch"  # the schedule that only acts where the data changed
ANCHOR = datetime(
    2024, 1, 1, tzinfo=UTC
)  # from which the ticks of `every` are counted, on every machine


@dataclass(frozen=True)
class Changes:
    """What a synchronisation did, by schedule."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many deployments were touched."""
        return len(self.created) + len(self.updated) + len(self.deleted)


def synchronise(client: SyncPrefectClient, project: Project, params: Params, owner: str) -> Changes:
    """Create, update and delete our deployments until they are those that are declared; a second call does nothing."""
    ensure_limit(client)
    ensure_pool(client, owner)
    changes = Changes()
    known = our_deployments(client, owner)
    for name, schedule in params.schedules.items():
        wanted = _wanted(project, owner, name, schedule)
        if name not in known:
            _create(client, wanted)
            changes.created.append(name)
        elif _described(known[name]) == _as_described(wanted):
            changes.left.append(name)
        else:
            _replace(client, known[name], wanted)
            changes.updated.append(name)
    for name in known.keys() - params.schedules.keys():
        client.delete_deployment(known[name].id)
        changes.deleted.append(name)
    return changes


def prefect_schedule(schedule: Schedule) -> SCHEDULE_TYPES:
    """A schedule in Prefect's terms."""
    if schedule.period is not None:
        return IntervalSchedule(
            interval=schedule.period, anchor_date=ANCHOR, timezone=schedule.timezone
        )
    assert schedule.cron is not None  # checked with params.yaml
    return CronSchedule(cron=schedule.cron, timezone=schedule.timezone)


@dataclass(frozen=True)
class _Wanted:
    name: str
    flow: Flow[Any, Any]
    schedule: SCHEDULE_TYPES
    parameters: Mapping[str, Any]
    pool: str
    folder: str


def _wanted(project: Project, owner: str, name: str, schedule: Schedule) -> _Wanted:
    return _Wanted(
        name=deployment_name(owner, name),
        flow=watch if name == WATCH else tick,
        schedule=prefect_schedule(schedule),
        parameters={"models": list(schedule.models), "overrides": list(schedule.overrides)},
        pool=owner,
        folder=str(project.root),
    )


def _as_described(wanted: _Wanted) -> dict[str, Any]:
    return {
        "entrypoint": _entrypoint(wanted.flow),
        "schedules": [wanted.schedule.model_dump(mode="json")],
        "active": [True],
        "parameters": dict(wanted.parameters),
        "pool": wanted.pool,
        "folder": wanted.folder,
        "paused": False,
    }


def _described(deployment: DeploymentResponse) -> dict[str, Any]:
    return {
        "entrypoint": deployment.entrypoint,
        "schedules": [item.schedule.model_dump(mode="json") for item in deployment.schedules],
        "active": [item.active for item in deployment.schedules],
        "parameters": deployment.parameters,
        "pool": deployment.work_pool_name,
        "folder": deployment.job_variables.get("working_dir"),
        "paused": deployment.paused,
    }


def _create(client: SyncPrefectClient, wanted: _Wanted) -> None:
    client.create_deployment(
        flow_id=client.create_flow(wanted.flow),
        name=wanted.name,
        entrypoint=_entrypoint(wanted.flow),
        schedules=[DeploymentScheduleCreate(schedule=wanted.schedule, active=True)],
        parameters=dict(wanted.parameters),
        parameter_openapi_schema=parameter_schema(wanted.flow).model_dump(),
        work_pool_name=wanted.pool,
        job_variables={"working_dir": wanted.folder},
        description=wanted.flow.description,
        paused=False,
    )


def _replace(client: SyncPrefectClient, known: DeploymentResponse, wanted: _Wanted) -> None:
    """Update a deployment in place, so that its runs stay with it."""
    for item in known.schedules:
        client.delete_deployment_schedule(known.id, item.id)
    _create(client, wanted)  # the server takes one of the same name for an update


def _entrypoint(flow: Flow[Any, Any]) -> str:
    return f"{flow.fn.__module__}.{flow.fn.__name__}"
