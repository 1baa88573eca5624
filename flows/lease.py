"""One training at a time on one accelerator, also of several projects that share a Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY

LIMIT = "accelerator"
# Prefect's shortest lease; a thread renews it after three quarters. A holder that was killed frees its slot by then.
LEASE_SECONDS = 60


def ensure_limit(client: SyncPrefectClient) -> None:
    """Make the limit with one slot if the server hasn't it; one that somebody made wider stays so."""
    try:
        client.read_global_concurrency_limit_by_name(LIMIT)
    except ObjectNotFound:
        client.upsert_global_concurrency_limit_by_name(LIMIT, 1)


@contextmanager
def accelerator() -> Iterator[None]:
    """Hold a slot of the limit for a training; on an API of this process alone the project's lock is enough."""
    if not shares_a_server():
        yield
        return
    with get_client(sync_client=True) as client:
        ensure_limit(client)
    # A renewal that fails is no reason to lose hours of training.
    with concurrency(LIMIT, strict=True, lease_duration=LEASE_SECONDS, raise_on_lease_renewal_failure=False):
        yield


def shares_a_server() -> bool:
    """Whether the API is a server that others use, and not one for this run."""
    # `run_flow` switches the heartbeat off for its own API only.
    return bool(PREFECT_API_URL.value()) and PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is not None
