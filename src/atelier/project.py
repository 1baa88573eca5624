"""A project folder: where its parts lie, and the environment that its tools are started in."""

from __future__ import annotations

import fcntl
import logging
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from atelier.errors import UsageError
from atelier.machine import environment
from atelier.machine.places import database_url
from atelier.machine.stack_record import running_stack


@dataclass(frozen=True)
class Project:
    """The folder that holds params.yaml, data.dvc and, by default, all state."""

    root: Path

    @property
    def params_file(self) -> Path:
        """The desired state."""
        return self.root / "params.yaml"

    @property
    def cache(self) -> Path:
        """What can be thrown away: fetched sources, checkpoints of unfinished trainings."""
        return self.root / ".atelier"

    def checkpoints(self, model: str, fingerprint: str) -> Path:
        """Folder of the checkpoints of one training; another fingerprint never finds them."""
        return self.cache / "checkpoints" / model / fingerprint[:16]


def find_project(start: Path | None = None) -> Project:
    """The nearest folder at or above `start` that holds a params.yaml.

    By default it starts at the working directory.

    Raises:
        UsageError: if there is none.
    """
    here = (start or Path.cwd()).resolve()
    files = [folder / "params.yaml" for folder in (here, *here.parents)]
    for file in files:
        if file.is_file():
            return Project(file.parent)
    others = [file for file in files if os.path.lexists(file)]
    hint = f" {others[0]} is no file, or a link to nothing." if others else ""
    message = f"{here} is not in a project: no params.yaml here or above.{hint}"
    raise UsageError(f"{message} Change to the folder that has one.")


def set_environment(project: Project, *, stack: bool = True) -> None:
    """Point Prefect and MLflow at the project's servers, and switch all telemetry off.

    The servers are those of `atelier up` while they go on, else embedded ones on the project's
    files. Those that the user names win; what is there about any others is dropped.

    Must run before prefect or mlflow is imported: both read their settings then.

    Args:
        project: the project.
        stack: whether to look for servers of `atelier up`.
    """
    defaults = _default_variables(project)
    if stack:
        running = running_stack(project.root)
        defaults |= running.variables() if running else {}
    environment.drop_foreign(defaults)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    home = Path(os.environ["PREFECT_HOME"])
    if "?" in str(home):  # Prefect itself would cut it off there
        database = database_url(home / "prefect.db", "aiosqlite")
        os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    environment.drop_unusable_proxies()
    environment.reach_this_machine_directly()
    environment.name_user(project.cache / "home")


def _default_variables(project: Project) -> dict[str, str]:
    """What Prefect, MLflow, DVC and torch find in their environment, unless the user says else."""
    return {
        "MLFLOW_TRACKING_URI": database_url(project.root / "mlflow.db"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # A model is code that can be read, and safetensors.
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        # Default 7 with back-off: minutes before a dead server is reported.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        # A run whose server went away tries again for 2 + 4 + ... + 64 s; default 5, 62 s.
        "PREFECT_CLIENT_MAX_RETRIES": "6",
        "PREFECT_HOME": str(project.root / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Default 20; a cold start took 24 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "WARNING",  # Prefect's own chatter
        # Its handler hangs on the root logger, so without this every failure is shown as a
        # traceback too.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        # A line before the flow has no run to belong to.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # How long torch's waiting threads spin before they yield their core. The GAN's images/s on
        # 2 cores, alone and beside a busy process: never 350 and 340, this long 730 and 230,
        # libgomp's 300,000 640 and 130 or less.
        "GOMP_SPINCOUNT": "6000",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
    }


def open_project() -> Project:
    """The project of a command, with its environment set, and with log lines on the terminal.

    Raises:
        UsageError: as `find_project`.
    """
    project = find_project()
    set_environment(project)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("atelier")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False  # the root logger becomes Prefect's, which would print each line again
    return project


def open_lock(project: Project, name: str) -> TextIO:
    """The file on which processes wait for each other, opened; whoever closes it lets go.

    Raises:
        UsageError: if the folder can't be written.
    """
    try:
        project.cache.mkdir(parents=True, exist_ok=True)
        return (project.cache / f"{name}.lock").open("a+")
    except OSError as error:
        raise UsageError(
            f"{project.root} can't be written: {error}. "
            f"Atelier keeps its state there.{_owner(project)}"
        ) from None


def _owner(project: Project) -> str:
    """What to do in a folder of another user; empty in one's own."""
    folder = project.cache if project.cache.exists() else project.root
    owner = folder.stat().st_uid
    if owner == os.geteuid():
        return ""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:  # of a container's image, or of another machine
        name = str(owner)
    return f" It belongs to the user {name}: work as that user, or in a clone of your own."


class BusyError(UsageError):
    """Another run holds the project."""


def at_work_here(project: Project) -> str:
    """Who holds the project, as `pid, in words`; empty if nobody does."""
    with open_lock(project, "run") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            return lock.read().strip()
    return ""


@contextmanager
def exclusive(project: Project, who: str = "by hand") -> Iterator[None]:
    """Hold the project for one run that changes it.

    The lock goes with the process, however it ends.

    Args:
        project: the project.
        who: this run in words, for those who have to wait for it.

    Raises:
        BusyError: if another process holds it, saying which.
        UsageError: if the folder can't be written.
    """
    with open_lock(project, "run") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BusyError(
                f"another run (process {lock.read().strip()}) is at work in {project.root}. "
                "Wait for it, or stop it."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}, {who}")
        lock.flush()
        yield
