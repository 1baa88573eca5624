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
# From which the ticks of `every` are counted, on every machine.
ANCHOR = datetime(2024, 1, 1, tzinfo=UTC)


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
    """Create, update and delete our deployments until they are those that are declared.

    A second call does nothing.
    """
    ensure_limit(client)
    ensure_pool(client, owner)
    changes = Changes()
    deployments = our_deployments(client, owner)
    for name, schedule in params.schedules.items():
        declaration = _declaration(project, owner, name, schedule)
        if name not in deployments:
            _create(client, declaration)
            changes.created.append(name)
        elif _state_of(deployments[name]) == _state_after(declaration):
            changes.left.append(name)
        else:
            _replace(client, deployments[name], declaration)
            changes.updated.append(name)
    for name in deployments.keys() - params.schedules.keys():
        client.delete_deployment(deployments[name].id)
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
class _Declaration:
    """What the deployment of a schedule has to be."""

    name: str
    flow: Flow[Any, Any]
    schedule: SCHEDULE_TYPES
    parameters: Mapping[str, Any]
    pool: str
    folder: str


def _declaration(project: Project, owner: str, name: str, schedule: Schedule) -> _Declaration:
    return _Declaration(
        name=deployment_name(owner, name),
        flow=watch if name == WATCH else tick,
        schedule=prefect_schedule(schedule),
        parameters={"models": list(schedule.models), "overrides": list(schedule.overrides)},
        pool=owner,
        folder=str(project.root),
    )


def _state_after(declaration: _Declaration) -> dict[str, Any]:
    """The state of a deployment that is as it was declared."""
    return {
        "entrypoint": _entrypoint(declaration.flow),
        "schedules": [declaration.schedule.model_dump(mode="json")],
        "active": [True],
        "parameters": dict(declaration.parameters),
        "pool": declaration.pool,
        "folder": declaration.folder,
        "paused": False,
    }


def _state_of(deployment: DeploymentResponse) -> dict[str, Any]:
    schedules = deployment.schedules
    return {
        "entrypoint": deployment.entrypoint,
        "schedules": [schedule.schedule.model_dump(mode="json") for schedule in schedules],
        "active": [schedule.active for schedule in schedules],
        "parameters": deployment.parameters,
        "pool": deployment.work_pool_name,
        "folder": deployment.job_variables.get("working_dir"),
        "paused": deployment.paused,
    }


def _create(client: SyncPrefectClient, declaration: _Declaration) -> None:
    client.create_deployment(
        flow_id=client.create_flow(declaration.flow),
        name=declaration.name,
        entrypoint=_entrypoint(declaration.flow),
        schedules=[DeploymentScheduleCreate(schedule=declaration.schedule, active=True)],
        parameters=dict(declaration.parameters),
        parameter_openapi_schema=parameter_schema(declaration.flow).model_dump(),
        work_pool_name=declaration.pool,
        job_variables={"working_dir": declaration.folder},
        description=declaration.flow.description,
        paused=False,
    )


def _replace(
    client: SyncPrefectClient, deployment: DeploymentResponse, declaration: _Declaration
) -> None:
    """Update a deployment in place, so that its runs stay with it."""
    for schedule in deployment.schedules:
        client.delete_deployment_schedule(deployment.id, schedule.id)
    _create(client, declaration)  # the server takes one of the same name for an update


def _entrypoint(flow: Flow[Any, Any]) -> str:
    return f"{flow.fn.__module__}.{flow.fn.__name__}"
