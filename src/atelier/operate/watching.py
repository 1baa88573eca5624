"""Whether the sources of the datasets hold other pictures than `data/` does: by content, and once they are still."""

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


def changed_data(project: Project, params: Params) -> Change:
    """Compare every dataset with its sources; waits a moment where they differ, to see whether they are still."""
    stale = [plan_dataset(project, params, name) for name in params.datasets]
    stale = [item for item in stale if item.action]
    if not stale:
        return Change(
            False,
            f"nothing to do: the sources of all {len(params.datasets)} datasets hold what data/ does",
        )
    why = "; ".join(f"{item.name}: {', '.join(item.reasons)}" for item in stale)
    if moving := _moving_file(project, params):
        return Change(False, f"{moving} is still being written; the next look decides ({why})")
    content = _content(project, params)
    if content == _tried(project):
        return Change(
            False,
            f"nothing to do: this change was tried and failed, see the run before ({why})",
            content,
        )
    return Change(True, why, content)


def note_change(project: Project, change: Change) -> None:
    """A change is acted on once: if that fails, not again until there is another one."""
    _tried_file(project).parent.mkdir(parents=True, exist_ok=True)
    _tried_file(project).write_text(change.content, encoding="utf-8")


def forget_change(project: Project) -> None:
    """To be called when a change was acted on with success."""
    _tried_file(project).unlink(missing_ok=True)


def _content(project: Project, params: Params) -> str:
    """Identity of the parameters of the datasets and of what their sources hold."""
    held = {}
    for name, dataset in params.datasets.items():
        try:
            source = current_source_digest(project.root, dataset)
        except DataError as error:
            source = str(error)
        held[name] = {"source": source, "params": dataset.model_dump(mode="json")}
    return digest(held)


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


def _tried(project: Project) -> str:
    try:
        return _tried_file(project).read_text(encoding="utf-8")
    except OSError:
        return ""


def _tried_file(project: Project) -> Path:
    return folder(project.root) / "tried-data"
