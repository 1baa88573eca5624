"""Servers that the environment names: whether they are there, and are what they should be."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request

from atelier.errors import AtelierError, UsageError
from atelier.machine.stack_record import VARIABLES

EXAMPLES = {"prefect": "http://127.0.0.1:4200/api", "mlflow": "http://127.0.0.1:5000"}
TITLES = {"prefect": "Prefect", "mlflow": "MLflow"}
# What GET /health answers, below the address that clients are told.
HEALTHY = {"prefect": b"true", "mlflow": b"OK"}
ANSWER_SECONDS = 4.0
REFUSALS = (401, 403)  # it is there, and wants a password that the clients may have
LOCAL = ("localhost", "127.0.0.1", "::1")


def refuse_silent(name: str, address: str) -> None:
    """Stop if no server of a kind is at an address.

    Args:
        name: prefect or mlflow.
        address: what its clients are told.

    Raises:
        UsageError: if that is no address.
        AtelierError: if nothing answers there, or something else does.
    """
    host = _host(address)
    variable = VARIABLES[name]
    title = TITLES[name]
    advice = f"Start that server, or unset {variable}; if it is the stack's: atelier logs {name}."
    if not host:
        raise UsageError(
            f"{variable} is {address!r}, which is no address of a server. "
            f"It has to look like {EXAMPLES[name]}. {advice}"
        )
    try:
        answer = _fetch(address, host in LOCAL, ANSWER_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code in REFUSALS:
            return
        answer = b""
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", error)).strip() or type(error).__name__
        message = f"{variable} is {address}, and nothing answers there ({reason})."
        raise AtelierError(f"{message} {advice}") from None
    if answer.strip() != HEALTHY[name]:
        raise AtelierError(
            f"{variable} is {address}, and what answers there is no {title} server. "
            f"Its address looks like {EXAMPLES[name]}. {advice}"
        )


def is_healthy(name: str, address: str, seconds: float) -> bool:
    """Whether a server of a kind answers at an address of this machine."""
    try:
        return _fetch(address, True, seconds).strip() == HEALTHY[name]
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _host(address: str) -> str:
    """The host of a web address; empty if it is none."""
    try:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or parts.port == 0:
            return ""
    except ValueError:  # a port of no number, a bracket that isn't closed
        return ""
    return parts.hostname or ""


def _fetch(address: str, is_local: bool, seconds: float) -> bytes:
    """The beginning of what /health answers.

    It is asked through the environment's proxy, but for this machine.
    """
    handlers = [urllib.request.ProxyHandler({})] if is_local else []
    opener = urllib.request.build_opener(*handlers)
    with opener.open(f"{address.rstrip('/')}/health", timeout=seconds) as response:
        return bytes(response.read(100))
