"""Run a flow without a server: Prefect's API in a child process, on the project's SQLite file."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.logging.handlers import APILogHandler, APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    get_current_settings,
    temporary_settings,
)

from atelier.errors import AtelierError
from atelier.operate.named import refuse_silent
from atelier.operate.readiness import NEEDED_MB

DRAIN_SECONDS = 15.0
TOLD_DRAIN_SECONDS = 1.5
END_SECONDS = 5.0
ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.1
# What Prefect itself tells the API that it starts for a run.
API_ENVIRONMENT = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


def run_flow(flow: Callable[..., Any], **parameters: Any) -> Any:
    """Call a flow; with the embedded API, wait until its history is in the database.

    Only then may the API go away. A real server (PREFECT_API_URL) keeps its own history and
    heartbeats, so there the flow is only called.

    Raises:
        AtelierError: if there is no API, besides what the flow raises.
    """
    log_to_run()
    if address := PREFECT_API_URL.value():
        refuse_silent("prefect", address)
        return flow(**parameters)
    with _embedded_api() as address:
        # A heartbeat is for servers that outlive the run; its thread would cost each flow a second
        # at exit.
        settings = {PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with temporary_settings(settings), get_client(sync_client=True) as client:
            before = _newest_flow_runs(client)
            seconds = DRAIN_SECONDS
            try:
                return flow(**parameters)
            except BaseException as error:
                if not isinstance(error, Exception):  # told to end, by somebody who waits
                    seconds = TOLD_DRAIN_SECONDS
                raise
            finally:
                _drain(client, before, seconds)


def log_to_run() -> None:
    """Our log lines also go to the flow run's log."""
    # Not by PREFECT_LOGGING_EXTRA_LOGGERS: it would print each line a second time.
    ours = logging.getLogger("atelier")
    if not any(isinstance(handler, APILogHandler) for handler in ours.handlers):
        ours.addHandler(APILogHandler())


def _drain(client: SyncPrefectClient, before: set[Any], seconds: float) -> None:
    """Wait until logs are sent, and all task runs of the new flow runs are recorded as ended.

    They travel through a queue in the API's process, which is stopped when this process ends:
    without waiting, most of them are lost (17 of 200 arrived).
    """
    deadline = time.monotonic() + seconds
    APILogWorker.drain_all(timeout=seconds, at_exit=False)
    last_seen = -1
    while time.monotonic() < deadline:
        runs = _task_runs(client, _newest_flow_runs(client) - before)
        have_ended = all(run.state is not None and run.state.is_final() for run in runs)
        if have_ended and len(runs) == last_seen:
            return
        last_seen = len(runs)
        time.sleep(0.5)


@contextmanager
def _embedded_api() -> Iterator[str]:
    """The address of an API on the project's database, for as long as it is needed.

    Raises:
        AtelierError: if it doesn't start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = get_current_settings().to_environment_variables(exclude_unset=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.embedded_api", str(port)],
        env={**os.environ, **API_ENVIRONMENT, **own},
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process, which still has to say how it ended
    )
    assert process.stdin is not None  # asked for
    try:
        _wait_for(process, f"http://127.0.0.1:{port}/api")
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.stdin.close()  # by this it ends
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.get(f"{address}/health", timeout=ANSWER_SECONDS).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(POLL_SECONDS)
    code = process.poll()
    reason = "it did not answer in time" if code is None else f"it ended with exit code {code}"
    raise AtelierError(f"Prefect's embedded API did not start: {reason}. {_advice()}")


def _advice() -> str:
    """What stands in the way of the API's database, as far as that can be seen."""
    home = PREFECT_HOME.value()
    if not os.access(home, os.W_OK):
        return f"{home} can't be written: see who owns it."
    free = shutil.disk_usage(home).free
    if free < NEEDED_MB * 2**20:
        return f"{home} has room for {free / 2**20:.1f} MB only: make room there."
    return "What it wrote stands above; the machine may also have been too busy: try again."


def _newest_flow_runs(client: SyncPrefectClient) -> set[Any]:
    runs = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=100)
    return {run.id for run in runs}


def _task_runs(client: SyncPrefectClient, flow_runs: set[Any]) -> list[TaskRun]:
    if not flow_runs:
        return []
    of_these = FlowRunFilter(id=FlowRunFilterId(any_=list(flow_runs)))
    runs: list[TaskRun] = []
    while page := client.read_task_runs(flow_run_filter=of_these, limit=200, offset=len(runs)):
        runs += page
    return runs
