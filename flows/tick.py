"""Flows `tick` and `watch`: what a schedule does when its time has come.

Whatever comes of it is said in the state.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Completed

from atelier.factory import Factory
from atelier.factory.card import cell
from atelier.factory.plan import Item, make_plan
from atelier.operate.parts import MARK
from atelier.operate.supervisor import log_file
from atelier.operate.watching import find_change, forget_change, note_change
from atelier.params import Params, load_params
from atelier.project import BusyError, Project, find_project
from atelier.registry import Registry
from flows import late
from flows.embedded import log_to_run
from flows.owner import AGAIN, owner_of, schedule_name
from flows.reconcile import bring_up_to_date
from flows.work import at_work

QUEUE_SECONDS = 2.0


# Prefect's form shows the empty lists.
@flow(name="tick")
def tick(models: list[str] = [], overrides: list[str] = []) -> State[Any]:  # noqa: B006
    """Bring data, models and registry to what params.yaml describes, where anything is stale.

    Args:
        models: only these and what they need; none: all.
        overrides: as of `atelier run --set`: dotted.key=value.
    """
    return _run(models, overrides)


@flow(name="watch")
def watch(models: list[str] = [], overrides: list[str] = []) -> State[Any]:  # noqa: B006
    """As `tick`, but only where the sources of a dataset hold other pictures than data/ does.

    Args:
        models: only these and what they need; none: all.
        overrides: as of `atelier run --set`: dotted.key=value.
    """
    return _run(models, overrides, only_for_data=True)


def _run(models: list[str], overrides: list[str], only_for_data: bool = False) -> State[Any]:
    project, params, path = _open(overrides)
    if _is_orphaned():
        return Cancelled(message="its schedule was removed while it began, so nothing was done")
    newer = _newer_tick(project, params)
    if newer:
        return Cancelled(message=newer)
    change = find_change(project, params) if only_for_data else None
    # A run in place of one that was killed goes on with what that one began, also where the data
    # are stored by now.
    if change is not None and not change.is_due and AGAIN not in flow_run.tags:
        return Completed(message=change.reason)
    try:
        with _turn(project, params):
            if change is not None:
                note_change(project, change)
            state = _advance(project, params, path, models, overrides)
            if change is not None:
                forget_change(project)
            return state
    except BusyError as error:
        return Cancelled(message=str(error))


def _open(overrides: Sequence[str]) -> tuple[Project, Params, Path]:
    project = find_project()
    _write_to_own_log(project)
    log_to_run()
    path = project.params_file
    return project, load_params(path, overrides), path


def _is_orphaned() -> bool:
    """Whether the deployment of this run was deleted.

    `schedule sync` does so with what is no longer declared.
    """
    try:
        str(deployment.name)  # from here on Prefect remembers it
    except ObjectNotFound:
        return True
    return False


def _write_to_own_log(project: Project) -> None:
    """Leave the pipe to the runner.

    If that is killed, a training that writes into the pipe would end as well.
    """
    if not os.environ.get(MARK):
        return  # called by hand, in a terminal
    with log_file(project, "runs").open("ab") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())


def _newer_tick(project: Project, params: Params) -> str:
    """Why another tick of the same schedule runs instead of this one; empty if none does."""
    name = schedule_name(owner_of(project), str(deployment.name or ""))
    schedule = params.schedules.get(name or "")
    if schedule is None or schedule.late != "newest":
        return ""
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(str(flow_run.id)))
        # On time: if it made way for the next one, that would for the one after it.
        if run.expected_start_time is None or now - run.expected_start_time < late.GRACE:
            return ""
        newer = late.newer_ticks(client, run, now)
    return late.reason(newer, "newest") if newer else ""


@contextmanager
def _turn(project: Project, params: Params) -> Iterator[None]:
    """Hold the project; where every late tick is to run, wait for it.

    Raises:
        BusyError: if another run holds it.
    """
    name = schedule_name(owner_of(project), str(deployment.name or ""))
    schedule = params.schedules.get(name or "")
    waits = schedule is not None and schedule.late == "all"
    with ExitStack() as work:
        while True:
            try:
                work.enter_context(at_work(project))
                break
            except BusyError:
                if not waits:
                    raise
                time.sleep(QUEUE_SECONDS)
        yield


def _advance(
    project: Project, params: Params, path: Path, models: list[str], overrides: list[str]
) -> State[Any]:
    factory = Factory.open(project, params)
    plan = make_plan(factory, models)
    create_markdown_artifact(key="plan", markdown=_page(plan), description="What is stale, and why")
    stale = [stage for stage in plan if stage.action]
    if not stale:
        return Completed(message=f"nothing to do: all {len(plan)} datasets and models are fresh")
    bring_up_to_date(project, params, path, overrides, models)
    return Completed(message="; ".join(_outcome(factory.registry, stage) for stage in stale))


def _outcome(registry: Registry, stage: Item) -> str:
    """What became of a stale dataset or model, and why it was stale."""
    why = "; ".join(stage.reasons) or stage.state
    if stage.kind == "dataset":
        return f"{stage.name} ingested ({why})"
    newest = registry.versions(stage.name)[-1]
    return f"{newest} {newest.tags.get('verdict', 'not judged')} ({why})"


def _page(plan: Sequence[Item]) -> str:
    rows = []
    for stage in plan:
        reasons = cell("; ".join(stage.reasons))
        rows.append(f"| {stage.name} | {stage.kind} | {stage.state} | {reasons} |")
    table = "\n".join(rows)
    return f"| name | kind | state | why |\n|---|---|---|---|\n{table}\n"
