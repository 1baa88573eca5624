"""Run a flow without a server to start: Prefect's own API in a child process, on the SQLite file of the project."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

from atelier.errors import AtelierError

DRAIN_SECONDS = 15.0


def run_flow(flow: Callable[..., Any], **parameters: Any) -> Any:
    """Call a flow; with the embedded API, wait until its history is in the database before the API goes away.

    A real server (PREFECT_API_URL) keeps its own history and heartbeats, so there the flow is only called.
    """
    _log_to_run()
    if PREFECT_API_URL.value():
        return flow(**parameters)
    # A heartbeat is for servers that outlive the run; its thread would cost each flow a second at exit.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), _embedded_api() as client:
        before = _newest_flow_runs(client)
        try:
            return flow(**parameters)
        finally:
            _drain(client, before)


def _log_to_run() -> None:
    """Our log lines also go to the flow run's log."""
    # Not by PREFECT_LOGGING_EXTRA_LOGGERS: it would print each line a second time.
    ours = logging.getLogger("atelier")
    if not any(isinstance(handler, APILogHandler) for handler in ours.handlers):
        ours.addHandler(APILogHandler())


def _drain(client: SyncPrefectClient, before: set[Any]) -> None:
    """Wait until all task runs of the new flow runs are recorded as ended.

    They travel through a queue in the API's process, which is stopped when this process ends: without waiting, most of
    them are lost (17 of 200 arrived).
    """
    deadline = time.monotonic() + DRAIN_SECONDS
    last_seen = -1
    while time.monotonic() < deadline:
        runs = _task_runs(client, _newest_flow_runs(client) - before)
        ended = all(run.state is not None and run.state.is_final() for run in runs)
        if ended and len(runs) == last_seen:
            return
        last_seen = len(runs)
        time.sleep(0.5)


def _embedded_api() -> SyncPrefectClient:
    """A client of the embedded API, which is started if it isn't running in this process yet.

    Raises:
        AtelierError: if it doesn't start.
    """
    try:
        return get_client(sync_client=True)
    except RuntimeError as error:  # the child process died, or didn't answer in time
        reason = str(error).splitlines()[0]
        raise AtelierError(
            f"Prefect's embedded API did not start: {reason} Is there room on the disk, and can {PREFECT_HOME.value()} "
            "be written?"
        ) from None


def _newest_flow_runs(client: SyncPrefectClient) -> set[Any]:
    return {run.id for run in client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=100)}


def _task_runs(client: SyncPrefectClient, flow_runs: set[Any]) -> list[TaskRun]:
    if not flow_runs:
        return []
    found: list[TaskRun] = []
    while page := client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(flow_runs))), limit=200, offset=len(found)
    ):
        found += page
    return found
