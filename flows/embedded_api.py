"""Prefect's API for one run: a process that never outlives the one that started it.

Its standard input is a pipe that the other holds open. However that one ends, also by SIGKILL, the
pipe closes, and this process goes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

import uvicorn


def _end_with_starter() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)  # uvicorn's way to end, which drains Prefect's queues


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        lifespan="on",
    )
