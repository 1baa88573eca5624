"""One training at a time on one accelerator, also of several projects that share a Prefect server.

The lease is taken, renewed and given back here and not by `prefect.concurrency`. That one tells
nobody which lease it holds, so that the slot of a holder that was killed would stay taken until the
lease ends; and when the server is away for some seconds it loses the slot, or fails the training.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import ConcurrencyLimitWithLeaseResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from flows import zombies

log = logging.getLogger("atelier")

LIMIT = "accelerator"
LABEL = "atelier.lease"  # of a flow run: the lease that it holds, or held
# Prefect's shortest lease. It is renewed so often that a server may be away for 45 s, and no other
# training takes the slot.
LEASE_SECONDS = 60
RENEWAL_SECONDS = 10.0
AWAY_SECONDS = 2.0  # between two tries to reach a server that doesn't answer
QUEUE_SECONDS = 5.0  # between two looks whether the slot is free
RELEASE_SECONDS = 5.0


def ensure_limit(client: SyncPrefectClient) -> None:
    """Make the limit with one slot if the server hasn't it; a wider one stays as it is."""
    try:
        client.read_global_concurrency_limit_by_name(LIMIT)
    except ObjectNotFound:
        with suppress(ObjectAlreadyExists):  # another training made it at this moment
            client.upsert_global_concurrency_limit_by_name(LIMIT, 1)


@contextmanager
def accelerator() -> Iterator[None]:
    """Hold a slot of the limit for a training.

    On an API of this process alone the project's lock is enough.
    """
    if not shares_a_server():
        yield
        return
    with get_client(sync_client=True) as client:
        ensure_limit(client)
        lease = _wait_for_slot(client)
    stop = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, stop), daemon=True)
    keeper.start()
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(UUID(str(flow_run.id)), {LABEL: str(lease)})
        yield
    finally:
        stop.set()
        keeper.join(RELEASE_SECONDS)  # what can't be given back now ends with its lease


def shares_a_server() -> bool:
    """Whether the API is a server that others use, and not one for this run."""
    # `run_flow` switches the heartbeat off for its own API only.
    return bool(PREFECT_API_URL.value()) and PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is not None


def take_slot(client: SyncPrefectClient) -> UUID | None:
    """The lease of a slot; None if none is free."""
    try:
        answer = client.increment_concurrency_slots_with_lease(
            [LIMIT], slots=1, mode="concurrency", lease_duration=LEASE_SECONDS
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.LOCKED:
            return None
        raise
    return ConcurrencyLimitWithLeaseResponse.model_validate(answer.json()).lease_id


def release_dead(client: SyncPrefectClient) -> None:
    """Give back the slots of runs whose process is gone for certain, before their leases end."""
    since = datetime.now(UTC) - timedelta(seconds=2 * LEASE_SECONDS)
    crashed = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        end_time=FlowRunFilterEndTime(after_=since),  # type: ignore[arg-type]
    )
    for run in [*zombies.unfinished_runs(client), *client.read_flow_runs(flow_run_filter=crashed)]:
        process = zombies.process_of(run.labels)
        if LABEL in run.labels and process is not None and process.is_gone():
            # Of a lease that ended the server takes no notice.
            client.release_concurrency_slots_with_lease(UUID(str(run.labels[LABEL])))


def _wait_for_slot(client: SyncPrefectClient) -> UUID:
    lease = take_slot(client)
    if lease is None:
        log.info("waiting for a slot of the limit %s", LIMIT)
    while lease is None:
        release_dead(client)
        lease = take_slot(client)
        if lease is None:
            time.sleep(QUEUE_SECONDS)
    return lease


def _keep(lease: UUID, stop: threading.Event) -> None:
    """Renew a lease until it is no longer needed, then give it back.

    A renewal that fails is no reason to lose hours of training.
    """
    pause = RENEWAL_SECONDS
    lost = False
    while not stop.wait(pause):
        pause = RENEWAL_SECONDS
        try:
            with get_client(sync_client=True) as client:  # a new one: it does not wait for a server
                client.renew_concurrency_lease(lease, LEASE_SECONDS)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.GONE and not lost:
                lost = True
                log.warning("this training lost its slot of the limit %s, and goes on", LIMIT)
        except Exception:  # the server is away: as soon as it is back this has to be the first
            pause = AWAY_SECONDS
    with suppress(Exception), get_client(sync_client=True) as client:
        client.release_concurrency_slots_with_lease(lease)
