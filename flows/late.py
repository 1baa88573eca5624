"""Ticks that came due while nothing could run: `late` of a schedule says which still run."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled

from flows.owner import runs_of

log = logging.getLogger("atelier")

Late = Literal["newest", "all", "skip"]
OLDEST_FIRST = FlowRunSort.EXPECTED_START_TIME_ASC
NOT_DROPPED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.COMPLETED]
# A tick that is younger is on time: the runner looks each 10 s, and a process takes a few to start.
GRACE = timedelta(seconds=45)


def drop_late(
    client: SyncPrefectClient, deployment_id: UUID, late: Late, now: datetime
) -> list[FlowRun]:
    """Cancel, and return, the due ticks of a deployment that are not to run any more.

    Each is told its reason.
    """
    due = due_ticks(client, deployment_id, now)
    dropped = ticks_to_drop(due, late, now)
    for run in dropped:
        client.set_flow_run_state(run.id, Cancelled(message=reason(due, late)), force=True)
        log.info("the tick of %s is dropped: %s", _time(run), reason(due, late))
    return dropped


def due_ticks(client: SyncPrefectClient, deployment_id: UUID, now: datetime) -> list[FlowRun]:
    """The ticks of a deployment that came due and that no runner took, oldest first."""
    runs = runs_of(client, [deployment_id], [StateType.SCHEDULED], OLDEST_FIRST, due=(None, now))
    return [run for run in runs if run.auto_scheduled]


def newer_ticks(client: SyncPrefectClient, run: FlowRun, now: datetime) -> list[FlowRun]:
    """The due ticks of the same deployment after one of its runs, oldest first.

    Only those that ran, run or will run.
    """
    if run.deployment_id is None or not run.auto_scheduled:
        return []
    due = (run.expected_start_time, now)
    runs = runs_of(client, [run.deployment_id], NOT_DROPPED, OLDEST_FIRST, due=due)
    return [other for other in runs if other.auto_scheduled and _due_time(other) > _due_time(run)]


def ticks_to_drop(due: list[FlowRun], late: Late, now: datetime) -> list[FlowRun]:
    """Which of the due ticks, oldest first, are dropped."""
    if late == "all":
        return []
    if late == "newest":
        return due[:-1]
    return [run for run in due if now - _due_time(run) > GRACE]


def reason(due: list[FlowRun], late: Late) -> str:
    """Why a tick is dropped."""
    if late == "skip":
        return "dropped: it came due while nothing could run (late: skip)"
    return f"dropped: the tick of {_time(due[-1])} came due as well (late: newest)"


def _due_time(run: FlowRun) -> datetime:
    return run.expected_start_time or datetime.max.replace(tzinfo=UTC)


def _time(run: FlowRun) -> str:
    return _due_time(run).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
