"""What on a Prefect server is ours: names with an owner's prefix; nothing else is touched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from atelier.machine.stack_record import running_stack
from atelier.project import Project

AGAIN = "again"  # a tag of runs that take the place of one that was killed
ALONE = "atelier"  # on the project's own server, wherever its folder is moved to


def owner_of(project: Project) -> str:
    """The prefix of a project's objects, which also names its work pool."""
    stack = running_stack(project.root)
    if stack is not None and stack.parts["prefect"].state != "elsewhere":
        return ALONE
    folder = re.sub(r"[^a-z0-9]+", "-", project.root.name.lower()).strip("-")
    return f"{ALONE}-{folder}-{hashlib.sha256(str(project.root).encode()).hexdigest()[:8]}"


def deployment_name(owner: str, schedule: str) -> str:
    """What the deployment of a schedule is called."""
    return f"{owner}.{schedule}"


def schedule_name(owner: str, deployment: str) -> str | None:
    """The schedule that a deployment belongs to; None if it is not ours."""
    prefix = f"{owner}."
    return deployment.removeprefix(prefix) if deployment.startswith(prefix) else None


def our_deployments(client: SyncPrefectClient, owner: str) -> dict[str, DeploymentResponse]:
    """The deployments on the server that are ours, by schedule."""
    deployments: list[DeploymentResponse] = []
    while page := client.read_deployments(limit=200, offset=len(deployments)):
        deployments += page
    ours = {}
    for deployment in deployments:
        name = schedule_name(owner, deployment.name)
        if name is not None:
            ours[name] = deployment
    return ours


def ensure_pool(client: SyncPrefectClient, owner: str) -> WorkPool:
    """The work pool of our runner, made if it isn't there."""
    try:
        return client.read_work_pool(owner)
    except ObjectNotFound:
        pass
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=owner, type=ProcessWorker.type, base_job_template=template)
    try:
        return client.create_work_pool(pool)
    except ObjectAlreadyExists:  # by the runner, at the same time
        return client.read_work_pool(owner)


def runs_of(
    client: SyncPrefectClient,
    deployments: Sequence[UUID],
    states: Sequence[StateType],
    sort: FlowRunSort = FlowRunSort.EXPECTED_START_TIME_DESC,
    limit: int = 200,
    due: tuple[datetime | None, datetime | None] = (None, None),
) -> list[FlowRun]:
    """The flow runs of some deployments that are in one of some states; none of no deployments.

    Args:
        client: of the server.
        deployments: whose runs.
        states: in which they are.
        sort: which of them first.
        limit: how many at most; the server gives no more than 200.
        due: from when to when they are expected to start, both included; None: at any time.
    """
    if not deployments:
        return []
    begin, end = due
    expected = {"after_": begin, "before_": end}
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))),
            expected_start_time=FlowRunFilterExpectedStartTime.model_validate(expected),
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployments))),
        sort=sort,
        limit=limit,
    )
