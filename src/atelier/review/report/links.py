"""Addresses of runs, versions and flow runs in the web pages of MLflow and Prefect."""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit, urlunsplit


def without_password(uri: str) -> str:
    """An address as it may be shown to others: user and password are left out."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def mlflow_address(uri: str) -> str:
    """MLflow's page if the tracking URI is that of a server.

    Else it is empty: then `mlflow ui` shows the runs.
    """
    return without_password(uri).rstrip("/") if uri.startswith(("http://", "https://")) else ""


def prefect_address() -> str:
    """Prefect's page by PREFECT_UI_URL, or by the PREFECT_API_URL of a server of one's own.

    It is empty if neither is set.
    """
    address = os.environ.get("PREFECT_UI_URL", "").rstrip("/")
    if not address:
        api = os.environ.get("PREFECT_API_URL", "").rstrip("/")
        address = api.removesuffix("/api") if api.endswith("/api") else ""
    return without_password(address) if address.startswith(("http://", "https://")) else ""


def run_link(address: str, experiment_id: str, run_id: str) -> str:
    """Of a run of MLflow; empty without an address."""
    return f"{address}/#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}" if address else ""


def version_link(address: str, model: str, number: int) -> str:
    """Of a registered version; empty without an address."""
    return f"{address}/#/models/{quote(model, safe='')}/versions/{number}" if address else ""


def flow_run_link(address: str, flow_run_id: str) -> str:
    """Of a flow run of Prefect; empty without an address."""
    return f"{address}/runs/flow-run/{quote(flow_run_id, safe='')}" if address else ""
