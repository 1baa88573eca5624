"""Whether the sources hold other pictures than `data/` does: by content, once they are still."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atelier.data.ingest.state import current_source_digest
from atelier.data.sources.names import escape
from atelier.errors import DataError
from atelier.factory.fingerprint import digest
from atelier.factory.plan import plan_dataset
from atelier.machine.stack_record import folder
from atelier.params import Params
from atelier.project import Project

STILL_SECONDS = 3.0  # a file that did not grow for so long is taken for whole


@dataclass(frozen=True)
class Change:
    """What a look at the sources found."""

    is_due: bool  # whether something is to be done
    reason: str
    content: str = ""  # identity of what the sources hold


def find_change(project: Project, params: Params) -> Change:
    """Compare every dataset with its sources.

    Where they differ it waits a moment, to see whether they are still.
    """
    plans = [plan_dataset(project, params, name) for name in params.datasets]
    stale = [plan for plan in plans if plan.action]
    if not stale:
        count = len(params.datasets)
        reason = f"nothing to do: the sources of all {count} datasets hold what data/ does"
        return Change(False, reason)
    why = "; ".join(f"{plan.name}: {', '.join(plan.reasons)}" for plan in stale)
    moving = _moving_file(project, params)
    if moving:
        return Change(False, f"{moving} is still being written; the next look decides ({why})")
    content = _content(project, params)
    if content == _last_attempt(project):
        reason = f"nothing to do: this change was tried and failed, see the run before ({why})"
        return Change(False, reason, content)
    return Change(True, why, content)


def note_change(project: Project, change: Change) -> None:
    """A change is acted on once: if that fails, not again until there is another one."""
    file = _attempt_file(project)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(change.content, encoding="utf-8")


def forget_change(project: Project) -> None:
    """To be called when a change was acted on with success."""
    _attempt_file(project).unlink(missing_ok=True)


def _content(project: Project, params: Params) -> str:
    """Identity of the parameters of the datasets and of what their sources hold."""
    contents = {}
    for name, dataset in params.datasets.items():
        try:
            source = current_source_digest(project.root, dataset)
        except DataError as error:
            source = str(error)
        contents[name] = {"source": source, "params": dataset.model_dump(mode="json")}
    return digest(contents)


def _moving_file(project: Project, params: Params) -> str:
    """A file of a source that changes right now; empty if none does."""
    before = dict(_files(project, params))
    time.sleep(STILL_SECONDS)
    after = dict(_files(project, params))
    moved = [path for path, looks in after.items() if before.get(path) != looks]
    return escape(moved[0]) if moved else ""


def _files(project: Project, params: Params) -> Iterator[tuple[str, tuple[int, int]]]:
    """Size and time of every file that lies in a source on this machine."""
    for dataset in params.datasets.values():
        for source in dataset.sources:
            if source.path is None or "://" in source.path:
                continue
            place = project.root / source.path
            paths = [place] if place.is_file() else _below(place)
            for path in paths:
                try:
                    status = path.stat()
                except OSError:  # renamed meanwhile
                    continue
                yield str(path), (status.st_size, status.st_mtime_ns)


def _below(place: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(place):
        for name in names:
            yield Path(parent) / name


def _last_attempt(project: Project) -> str:
    """The content of the change that was acted on, and not with success."""
    try:
        return _attempt_file(project).read_text(encoding="utf-8")
    except OSError:
        return ""


def _attempt_file(project: Project) -> Path:
    return folder(project.root) / "tried-data"
