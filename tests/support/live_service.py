"""The service on a real socket, in a thread of this process."""

import threading
from contextlib import contextmanager

import uvicorn

from atelier.service.app import Service, build_app
from atelier.service.fleet import Fleet
from atelier.service.limits import Limits
from atelier.service.run import listen
from atelier.service.sightings import Sightings


@contextmanager
def live_service(registry, folder, **limits):
    """Its address, http://127.0.0.1:PORT, while it answers with all champions."""
    fleet = Fleet(registry, [], lambda news: None)
    fleet.open()
    service = Service(fleet, Limits(**limits), Sightings(folder / "requests", 0.0))
    config = uvicorn.Config(build_app(service), log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
