"""The slot of the limit `accelerator`, on a real server, held by real processes.

Part of `make ci`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.processes import Started, clean_environment, started

pytestmark = [pytest.mark.flow, pytest.mark.slow]

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "DO_NOT_TRACK": "1",
}


def hold(name: str, seconds: float) -> None:
    """A flow run that says what its process is, takes the slot, and notes from when to when."""
    from datetime import UTC, datetime
    from uuid import UUID

    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    from atelier.machine.processes import identify
    from flows import zombies
    from flows.lease import accelerator

    @flow(name="holder")
    def holder() -> None:
        labels = zombies.labels_of(identify(), datetime.now(UTC))
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(UUID(str(flow_run.id)), labels)
        with accelerator():
            Path(f"{name}.begin").write_text(repr(time.time()))
            time.sleep(seconds)
            Path(f"{name}.end").write_text(repr(time.time()))

    holder()


def moment(process: Started, file: Path, seconds: float = 90) -> float:
    """What was written to a file, once it is there."""
    deadline = time.monotonic() + seconds
    while not file.exists() or not file.read_text():
        assert process.process.is_alive(), process.wait(1)
        assert time.monotonic() < deadline, f"no {file.name} within {seconds} s"
        time.sleep(0.05)
    return float(file.read_text())


@pytest.fixture
def environment(prefect_api, tmp_path):
    return clean_environment(PREFECT_API_URL=prefect_api, PREFECT_HOME=str(tmp_path), **SETTINGS)


def test_two_holders_never_overlap(tmp_path, environment):
    def holder(name):
        return started(hold, name, 3.0, folder=tmp_path, environment=environment)

    with holder("one") as one, holder("two") as two:
        for process in (one, two):
            finished = process.wait(120)
            assert finished.returncode == 0, finished.stderr
    held = []
    for name in ("one", "two"):
        begin, end = (float((tmp_path / f"{name}.{side}").read_text()) for side in ("begin", "end"))
        held.append((begin, end))
    (_, first_end), (second_begin, _) = sorted(held)
    assert first_end <= second_begin


def test_the_slot_of_a_killed_holder_is_free_by_proof(tmp_path, environment):
    # This server has no services: nothing but the proof gives the slot back.
    with started(hold, "dead", 600.0, folder=tmp_path, environment=environment) as dead:
        moment(dead, tmp_path / "dead.begin")
        # The label with the lease is on the server once the flow has entered its block.
        os.kill(dead.process.pid, signal.SIGKILL)
        dead.process.join()
    with started(hold, "next", 0.0, folder=tmp_path, environment=environment) as successor:
        finished = successor.wait(50)  # a lease has 60 s
        assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "next.end").exists()
