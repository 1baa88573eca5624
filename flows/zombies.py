"""Runs whose process is gone are ended on both sides, in Prefect and in MLflow, by proof.

On this machine the proof is the process itself: its pid and when it started. Of another machine's
runs it is their silence, for longer than any flow can be silent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from atelier.machine.processes import Identity
from atelier.registry import Registry

log = logging.getLogger("atelier")

HOST = "atelier.host"
PID = "atelier.pid"
STARTED = "atelier.started"
SEEN = "atelier.seen"
# A run says that it lives each 60 s, from a thread of its own (flows/work.py). Four beats may be
# lost, to a server that is started again or a machine that swaps.
SILENCE = timedelta(seconds=300)
UNFINISHED = [StateType.RUNNING, StateType.CANCELLING]


def labels_of(process: Identity, seen: datetime) -> dict[str, Any]:
    """What a flow run says of its process."""
    return {
        HOST: process.host,
        PID: process.pid,
        STARTED: process.started,
        SEEN: seen.isoformat(timespec="seconds"),
    }


def sweep(client: SyncPrefectClient, registry: Registry) -> list[str]:
    """End the flow runs and MLflow runs whose process is gone; one line for each.

    Live ones are never touched, and those that never said what their process is neither.
    """
    lines = []
    for run in unfinished_runs(client):
        reason = why_dead(run.labels, datetime.now(UTC))
        if reason:
            client.set_flow_run_state(run.id, Crashed(message=reason), force=True)
            lines.append(f"flow run {run.name}: {reason}")
    lines += registry.runs.end_dead(lambda tags: _why_dead_by_tags(client, tags))
    for line in lines:
        log.warning("%s", line)
    return lines


def unfinished_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """All flow runs that are said to be at work."""
    at_work = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)))
    runs: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=at_work, limit=200, offset=len(runs)):
        runs += page
    return runs


def process_of(labels: Mapping[str, Any]) -> Identity | None:
    """The process that a flow run said was its own; None if it never did."""
    if not {HOST, PID, STARTED} <= labels.keys():
        return None
    return Identity(str(labels[HOST]), int(labels[PID]), float(labels[STARTED]))


def why_dead(labels: Mapping[str, Any], now: datetime) -> str:
    """Why a run can't be at work any more; empty if it may be."""
    process = process_of(labels)
    if process is None:
        return ""
    if process.is_gone():
        return f"its process {process.pid} on {process.host} ended without a word"
    if process.process() is not None:
        return ""
    seen = datetime.fromisoformat(str(labels[SEEN]))
    if now - seen > SILENCE:
        return (
            f"no sign of life from its process {process.pid} on {process.host} since {labels[SEEN]}"
        )
    return ""


def _why_dead_by_tags(client: SyncPrefectClient, tags: Mapping[str, str]) -> str:
    """Why an MLflow run can't be at work: its process is gone, or its flow run ended."""
    try:
        process = Identity(
            tags["process.host"], int(tags["process.pid"]), float(tags["process.started"])
        )
    except (KeyError, ValueError):
        return ""
    if process.is_gone():
        return f"its process {process.pid} on {process.host} ended without a word"
    if process.process() is not None or not tags.get("prefect.flow_run_id"):
        return ""
    return _why_dead_by_flow_run(client, tags["prefect.flow_run_id"])


def _why_dead_by_flow_run(client: SyncPrefectClient, run_id: str) -> str:
    from prefect.exceptions import ObjectNotFound

    try:
        run = client.read_flow_run(run_id)  # type: ignore[arg-type]
    except (ObjectNotFound, ValueError):
        return ""
    if run.state is None or not run.state.is_final():
        return ""
    return f"its flow run {run.name} ended: {run.state.name}"
