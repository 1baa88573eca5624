"""The parts of the stack: how each is started, and when it does its work."""

from __future__ import annotations

import socket
import sys
import urllib.parse
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from atelier.errors import UsageError
from atelier.machine.places import database_url
from atelier.machine.stack_record import VARIABLES, folder
from atelier.operate.named import is_healthy
from atelier.project import Project

HOST = "127.0.0.1"
MARK = "ATELIER_STACK"  # a variable that every process of a stack carries: the project's folder
FIRST_PORT = {"prefect": 4200, "mlflow": 5000}  # what both are used to
PORTS_TRIED = 100
ANSWER_SECONDS = 2.0
LEASE_STORAGE = "prefect.server.concurrency.lease_storage.filesystem"


@dataclass(frozen=True)
class Definition:
    """How a part is started.

    Attributes:
        name: prefect, mlflow or runner.
        command: its command line.
        environment: what differs from that of the supervisor.
        address: what its clients are told; empty: it has none.
        needs: parts that must do their work before it is started.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    address: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Servers:
    """Where both servers are, and which of them the stack starts itself.

    Attributes:
        addresses: what a client of prefect or mlflow is told.
        own: those that are the stack's; the others the environment named.
    """

    addresses: Mapping[str, str]
    own: tuple[str, ...]

    def variables(self) -> dict[str, str]:
        """What clients of both have to find in their environment."""
        return {VARIABLES[name]: address for name, address in self.addresses.items()}


def definitions(project: Project, servers: Servers) -> list[Definition]:
    """The parts that are to be started, in an order in which they can be."""
    makers = {"prefect": _prefect, "mlflow": _mlflow}
    own = [makers[name](project, servers.addresses[name]) for name in servers.own]
    return [*own, _runner(project, servers)]


def does_its_work(project: Project, definition: Definition, pid: int) -> bool:
    """Whether a part that was started answers by now."""
    if definition.name == "runner":
        return ready_file(project).exists() and ready_file(project).read_text() == str(pid)
    return is_healthy(definition.name, definition.address, ANSWER_SECONDS)


def page(name: str, address: str) -> str:
    """Where people look at a server that clients know by an address."""
    return address.removesuffix("/api") if name == "prefect" else address


def client_address(name: str, port: int) -> str:
    """The address of one of the stack's own servers, for clients."""
    path = "/api" if name == "prefect" else ""
    return f"http://{HOST}:{port}{path}"


def port_of(address: str) -> int | None:
    """The port of one of the stack's own servers; None if the address is damaged."""
    try:
        return urllib.parse.urlsplit(address).port
    except ValueError:
        return None


def ready_file(project: Project) -> Path:
    """Where the runner writes its pid once it looks for due runs."""
    return folder(project.root) / "runner.ready"


def choose_port(name: str, demand: int | None, before: int | None, given: Collection[int]) -> int:
    """A free port for a server.

    Args:
        name: prefect or mlflow.
        demand: of the user: this one or none.
        before: where it was the last time; taken again if it is free.
        given: ports that the stack's other servers were given.

    Raises:
        UsageError: if the port that was asked for is taken, naming by whom if that can be known.
    """
    if demand is not None:
        _check_demand(name, demand, given)
        return demand
    first = FIRST_PORT[name]
    candidates = list(range(first, first + PORTS_TRIED))
    if before:
        candidates.insert(0, before)
    for port in candidates:
        if port not in given and _is_free(port):
            return int(port)
    last = first + PORTS_TRIED - 1
    raise UsageError(f"no port from {first} to {last} is free for {name}. Use --{name}-port.")


def _check_demand(name: str, port: int, given: Collection[int]) -> None:
    if port in given:
        raise UsageError(
            f"port {port} was asked for both servers. Give --prefect-port and --mlflow-port "
            "different ones, or leave one out."
        )
    if not _may_bind(port):
        raise UsageError(
            f"port {port}, asked for {name}, is not for this user: the system keeps it for "
            f"root. Name one above, such as {FIRST_PORT[name]}, or leave out --{name}-port."
        )
    if not _is_free(port):
        raise UsageError(
            f"port {port}, asked for {name}, is taken{_holder(port)}. "
            f"Free it, name another one, or leave out --{name}-port to take the next free one."
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def _may_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except PermissionError:
            return False
        except (OSError, OverflowError):
            return True  # taken, which is another matter
    return True


def _holder(port: int) -> str:
    """Who has a port, as far as this user may know."""
    try:
        for connection in psutil.net_connections("inet"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr.port == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return ""


def _prefect(project: Project, address: str) -> Definition:
    # Not by --port: then its pages would look for the API at 4200.
    environment = {
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port_of(address)),
        # Leases in memory would be lost when it is started again, and their slots be taken for
        # ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASE_STORAGE,
        # A slot is free so long after its lease at most; default 15.
        "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "5",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    }
    command = (sys.executable, "-m", "prefect", "server", "start")
    return Definition("prefect", command, environment, address)


def _mlflow(project: Project, address: str) -> Definition:
    command = (
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST),
        *("--port", str(port_of(address)), "--workers", "1"),
        *("--backend-store-uri", database_url(project.root / "mlflow.db")),
        # Artifacts are files for its clients too, so that what is logged is found without it.
        *("--no-serve-artifacts", "--default-artifact-root", (project.root / "mlruns").as_uri()),
    )
    # 1.4 GB for what nobody here uses.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Definition("mlflow", command, environment, address)


def _runner(project: Project, servers: Servers) -> Definition:
    command = (sys.executable, "-m", "flows.runner", str(project.root))
    environment = {**servers.variables(), "PYTHONUNBUFFERED": "1"}
    return Definition("runner", command, environment, needs=servers.own)
