"""The connection to MLflow, and its failures in words."""

from __future__ import annotations

import fcntl
import gc
import http.client
import logging
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from atelier.errors import RegistryError
from atelier.machine.places import database_url
from atelier.project import Project, open_lock
from atelier.registry.relocation import Relocation, relocate

# MLflow's client then tries again after 0, 2, 4, 8, 16, 32 and 64 s.
PATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 1.0
ANSWER_SECONDS = 4.0
PAGE = 1000  # of most searches of MLflow the largest

log = logging.getLogger("atelier")
_patience = 0.0  # seconds in which a server that doesn't answer may come back


@contextmanager
def patient() -> Iterator[None]:
    """Wait two minutes for a server that went away, so that a run survives its being started again.

    A command has to say at once that the server isn't there; a training must not be lost by it.
    """
    global _patience
    before = {name: os.environ.get(name) for name in PATIENT}
    patience_before = _patience
    os.environ.update(PATIENT)
    _patience = PATIENCE_SECONDS
    try:
        yield
    finally:
        _patience = patience_before
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


class Connection:
    """MLflow at MLFLOW_TRACKING_URI; by default mlflow.db in the project folder.

    Attributes:
        mlflow: the module, imported here so that reading a plan's parameters doesn't wait for it.
        client: its client.
        uri: where it is.
        project: the project folder.
    """

    def __init__(self, project: Project) -> None:
        """Connect, and create the database if it is the default one and missing.

        Raises:
            RegistryError: if MLflow can't be reached.
        """
        with _without_collecting():
            import mlflow

            for chatty in ("mlflow", "alembic"):
                logging.getLogger(chatty).setLevel(logging.WARNING)
            self.mlflow: Any = mlflow
            self.project = project
            self.uri = str(mlflow.get_tracking_uri())
            with self.explain_errors("connect"), _first_use_lock(project):
                _ping(self.uri)
                if self.uri == database_url(project.root / "mlflow.db"):
                    _tell(relocate(project))
                self.client: Any = mlflow.MlflowClient()
                self.client.search_experiments(max_results=1)

    @contextmanager
    def explain_errors(self, action: str) -> Iterator[None]:
        """Turn MLflow's errors into one sentence that says what failed and what to check."""
        import sqlalchemy.exc

        try:
            yield
        except (
            self.mlflow.exceptions.MlflowException,
            sqlalchemy.exc.SQLAlchemyError,
            OSError,
        ) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise RegistryError(
                f"the registry at {self.uri} failed to {action}: {first_line} "
                "Check MLFLOW_TRACKING_URI, and that the server runs or the folder can be written."
            ) from error


def mend_places(project: Project) -> list[Relocation]:
    """Let the project's own registry name the files that are here, if it was moved or copied.

    Raises:
        RegistryError: if there is something to change, and the database can't be written.
    """
    with _first_use_lock(project):
        relocations = relocate(project)
    _tell(relocations)
    return relocations


def _tell(relocations: list[Relocation]) -> None:
    for relocation in relocations:
        if relocation.count:
            log.warning("%s", relocation)


def every_page(search: Callable[..., Any], **conditions: Any) -> list[Any]:
    """All that a search of MLflow finds."""
    results: list[Any] = []
    token = None
    while token != "":
        page = search(**conditions, max_results=PAGE, page_token=token)
        results += page
        token = page.token or ""
    return results


def quote(value: str) -> str:
    """Write a value for a filter of MLflow, which knows two quotes and no escape.

    Raises:
        RegistryError: if it holds both quotes.
    """
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise RegistryError(f"MLflow can't be asked for {value!r}: it holds both kinds of quotes.")


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Import MLflow without garbage collection, and keep what was imported out of it ever after.

    Its 2,000 modules make so many objects that looking through them again and again is a fifth of
    the CPU time of `atelier plan`; none of them is garbage.
    """
    if "mlflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _ping(uri: str) -> None:
    """Fail within seconds where MLflow's own client would retry for minutes, unless `patient`."""
    if not uri.startswith(("http://", "https://")):
        return
    deadline = time.monotonic() + _patience
    while problem := _why_silent(uri):
        if time.monotonic() >= deadline:
            raise RegistryError(
                f"the registry at {uri} can't be reached: {problem}. "
                "Start it, or unset MLFLOW_TRACKING_URI to use mlflow.db in the project folder."
            )
        time.sleep(POLL_SECONDS)


def _why_silent(uri: str) -> str:
    """Why a server can't be reached; empty if it answers."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return ""  # it answers; a proxy may not know /health
    # no answer, an answer not in HTTP, no address
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(getattr(error, "reason", error)).strip() or type(error).__name__
    return ""


@contextmanager
def _first_use_lock(project: Project) -> Iterator[None]:
    """Let one process wait for another: both at once would break the database.

    MLflow then fails with `duplicate column name`.
    """
    with open_lock(project, "registry") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
