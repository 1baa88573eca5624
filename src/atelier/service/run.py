"""The server: a socket, and the application behind it."""

from __future__ import annotations

import signal
import socket
from contextlib import closing
from types import FrameType

import uvicorn

from atelier.errors import UsageError
from atelier.service.app import Service, build_app
from atelier.service.fleet import Fleet
from atelier.service.limits import Limits
from atelier.service.sightings import Sightings

QUEUE = 2048  # connections that are not taken yet
GRACE_SECONDS = 30  # for what is at work when the server is told to end


def listen(host: str, port: int) -> closing[socket.socket]:
    """A socket at an address, to be closed after use.

    Raises:
        UsageError: if it can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends without delay only where the protocol is named: else each answer waits 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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


def run(fleet: Fleet, sightings: Sightings, bound: socket.socket, limits: Limits) -> None:
    """Serve until told to end; requests that are at work are answered before."""
    config = uvicorn.Config(
        build_app(Service(fleet, limits, sightings)),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    bound.listen(QUEUE)  # whoever reads the next line may ask, and waits for the first answer
    host, port = bound.getsockname()[:2]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    _Server(config).run(sockets=[bound])


class _Server(uvicorn.Server):
    """To be told to end is how it ends: no signal is raised again afterwards."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what is at work; on a second Ctrl-C at once."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
