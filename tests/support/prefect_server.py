"""One Prefect server for a whole test run, shared by its workers.

The first who needs it starts it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.support.processes import clean_environment

START_SECONDS = 120


def api_of(folder: Path) -> str:
    """Address of the API of the server whose state is in `folder`.

    It is started if it isn't yet.
    """
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        address = folder / "address"
        if not address.exists():
            address.write_text(_start(folder))
        return address.read_text()


def stop(folder: Path) -> None:
    """End the server of this folder, if one was started."""
    if (folder / "pid").exists():
        os.killpg(int((folder / "pid").read_text()), signal.SIGTERM)


def _start(folder: Path) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = clean_environment(
        PREFECT_HOME=str(folder),
        PREFECT_SERVER_API_PORT=str(port),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
    )
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--no-services"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    (folder / "pid").write_text(str(server.pid))
    api = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + START_SECONDS
    while not _answers(api):
        ended = server.poll() is not None or time.monotonic() > deadline
        assert not ended, f"Prefect's server did not start: {(folder / 'log').read_text()}"
        time.sleep(0.2)
    return api


def _answers(api: str) -> bool:
    try:
        urllib.request.urlopen(f"{api}/health", timeout=5).close()
    except OSError:
        return False
    return True
