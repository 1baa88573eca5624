"""The commands of what runs by itself: `atelier up`, `status`, `logs`, `down`, `schedule sync`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atelier.cli.options import Json, open_registry, print_answer
from atelier.errors import AtelierError, UsageError
from atelier.project import Project, find_project, open_project, set_environment

if TYPE_CHECKING:
    from flows.schedules import Changes

schedule_app = typer.Typer(
    help="What runs by itself: the section schedules of params.yaml.", no_args_is_help=True
)

Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="[default: as before, or the first free one]")
]


def up(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, for systemd and containers.")
    ] = False,
    prefect_port: Port = None,
    mlflow_port: Port = None,
) -> None:
    """Start what runs by itself: Prefect, MLflow, a runner for the schedules. `down` ends it."""
    from atelier.operate import stack, supervisor
    from atelier.params import load_params

    project = find_project()
    load_params(project.params_file)  # a mistake is found before anything is started
    began = time.monotonic()
    servers = stack.prepare(project, {"prefect": prefect_port, "mlflow": mlflow_port})
    if foreground:
        if servers is None:
            raise UsageError(
                "the stack is up already. See `atelier status`; `atelier down` ends it."
            )
        _come_up_beside(project)
        supervisor.supervise(project, servers)
        return
    running = stack.bring_up(project, servers)
    _print_parts(project)
    count = _synchronise(project).count
    if servers is None and not count:
        print("0 changes: the stack was up, with these schedules.")
    elif servers is not None:
        seconds = time.monotonic() - began
        print(
            f"{len(running.parts)} parts up in {seconds:.0f} s. `atelier status` says what goes on."
        )


def down() -> None:
    """End the stack; a training that runs writes its checkpoint first."""
    from atelier.machine.processes import with_variable
    from atelier.operate import stack
    from atelier.operate.parts import MARK

    project = find_project()
    began = time.monotonic()
    was_up = stack.take_down(project)
    survivors = with_variable(MARK, str(project.root))
    if survivors:
        pids = ", ".join(str(process.pid) for process in survivors)
        raise UsageError(f"processes {pids} did not end; kill them.")
    if was_up:
        print(f"the stack is down, after {time.monotonic() - began:.0f} s.")
    else:
        print("the stack was not up.")


def status(as_json: Json = False) -> None:
    """Show the parts of the stack, the schedules' runs, who is at work, and what waits."""
    from atelier.cli.tables.operate import print_status
    from atelier.operate.status import status_of_parts
    from atelier.project import at_work_here

    project = open_project()
    answer: dict[str, Any] = {
        "parts": status_of_parts(project),
        "schedules": [],
        "at_work": at_work_here(project),
        "waiting": [],
        "problems": [],
    }
    questions = {"schedules": _schedules_status, "waiting": _waiting_versions}
    for key, ask in questions.items():
        try:
            answer[key] = ask(project)
        except AtelierError as error:  # what is known besides is shown
            answer["problems"].append(str(error))
    print_answer(answer, as_json, print_status)
    if answer["problems"]:
        raise typer.Exit(1)


def _schedules_status(project: Project) -> list[dict[str, Any]]:
    if not os.environ.get("PREFECT_API_URL"):
        return []
    from flows.monitor import schedules_status

    return schedules_status(project)


def _waiting_versions(project: Project) -> list[str]:
    from atelier.review.history import every_version

    versions = every_version(open_registry(project))
    return [str(version) for version in versions if version.tags.get("verdict") == "waiting"]


def logs(
    part: Annotated[
        str | None,
        typer.Argument(help="prefect, mlflow, runner, runs or supervisor.  [default: all]"),
    ] = None,
    lines: Annotated[int, typer.Option("-n", min=1, help="How many lines of each.")] = 20,
) -> None:
    """Show the last lines of what the parts of the stack wrote."""
    from atelier.operate.supervisor import log_file

    project = find_project()
    parts = ("supervisor", "prefect", "mlflow", "runner", "runs")
    if part is not None and part not in parts:
        raise UsageError(f"{part!r} is no part of the stack; its parts: {', '.join(parts)}.")
    for name in parts:
        if part is not None and name != part:
            continue
        path = log_file(project, name)
        print(f"== {path}")
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            print("\n".join(text.splitlines()[-lines:]))
        else:
            print("nothing was written yet")


def adopt() -> None:
    """After the project was moved or copied: let its own registry name the files that are here.

    Every command does so by itself; this one also tells what could not be mended.
    """
    from atelier.registry.connection import mend_places

    relocations = mend_places(open_project())
    if not relocations:
        print("nothing to adopt: the registry names the files of this folder.")
    for relocation in relocations:
        if not relocation.count:  # the others were told
            print(relocation)


def doctor(as_json: Json = False) -> None:
    """Check this machine and project: packages, device, git, DVC, registry, disk."""
    from atelier.cli.tables.factory import print_checks
    from atelier.operate.doctor import check_all

    checks = check_all(open_project())
    if as_json:
        print(json.dumps([check.as_json() for check in checks], indent=2))
    else:
        print_checks(checks)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@schedule_app.command("sync")
def schedule_sync() -> None:
    """Bring the server's schedules to those of params.yaml: create, update and delete our own."""
    project = open_project()
    if not os.environ.get("PREFECT_API_URL"):
        raise UsageError("there is no Prefect server to hold schedules. Start one: atelier up.")
    _synchronise(project)


def _synchronise(project: Project) -> Changes:
    from atelier.params import load_params

    params = load_params(project.params_file)
    for schedule in params.schedules.values():
        if schedule.overrides:
            load_params(project.params_file, schedule.overrides)
    set_environment(project)
    from flows.monitor import synchronise_schedules

    changes = synchronise_schedules(project, params)
    for word in ("created", "updated", "left", "deleted"):
        names = getattr(changes, word)
        print(f"schedules {word}: {', '.join(names) or 'none'}")
    return changes


def _print_parts(project: Project) -> None:
    from atelier.machine.stack_record import running_stack
    from atelier.operate.parts import page

    running = running_stack(project.root)
    assert running is not None  # it came up a moment ago
    for part in running.parts.values():
        print(f"{part.name:9} {page(part.name, part.address) or 'looks for due runs'}")


def _come_up_beside(project: Project) -> None:
    """Synchronise the schedules from a process of its own, once the servers of this one answer."""
    import subprocess

    script = (
        "import sys; from atelier.cli.operate import wait_and_synchronise; "
        "wait_and_synchronise(sys.argv[1])"
    )
    subprocess.Popen([sys.executable, "-c", script, str(project.root)], cwd=project.root)


def wait_and_synchronise(root: str) -> None:
    """What `up` does after the start, for a supervisor in the foreground."""
    from atelier.operate import stack

    project = Project(Path(root))
    stack.bring_up(project, None)
    _synchronise(project)


COMMANDS = (up, down, status, logs, adopt, doctor)
