"""The server: a socket, and the application behind it."""

from __future__ import annotations

import socket
from contextlib import closing

from atelier.errors import UsageError
from atelier.service.fleet import Fleet
from atelier.service.sightings import Sightings

GRACE_SECONDS = 30  # for what is at work when the server is told to end


def listen(host: str, port: int) -> closing[socket.socket]:
    """A socket at an address, to be closed after use.

    Raises:
        UsageError: if it can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise UsageError(
            f"{host} port {port} can't be listened to: {error.strerror or error}. "
            "Name another with --host and --port; port 0 takes any that is free."
        ) from None
    return closing(bound)


def run(
    fleet: Fleet,
    sightings: Sightings,
    bound: socket.socket,
    *,
    max_pixels: int,
    max_bytes: int,
    waiting: int,
) -> None:
    """Serve until told to end; requests that are at work are answered before."""
    import uvicorn

    from atelier.service.app import Limits, Service, build_app

    service = Service(fleet, Limits(max_pixels, max_bytes, waiting), sightings)
    config = uvicorn.Config(
        build_app(service),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    host, port = bound.getsockname()[:2]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    uvicorn.Server(config).run(sockets=[bound])
