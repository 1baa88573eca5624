"""Many pictures through a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atelier.data.sources.decoding import quiet_pillow
from atelier.data.sources.names import escape
from atelier.serving.files.listing import Job
from atelier.serving.files.restoring import Outcome, Wishes, restore_file
from atelier.serving.files.workers import restore_in_processes
from atelier.ui.progress import report_progress


@dataclass
class Note:
    """Something that was done to several pictures."""

    count: int
    first: Path


@dataclass
class Report:
    """What became of many pictures."""

    num_restored: int = 0
    notes: dict[str, Note] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)  # a line for each that was not restored

    def add(self, job: Job, outcome: Outcome) -> None:
        """Count one more."""
        if outcome.problem is not None:
            problem = outcome.problem.removesuffix(".")
            self.problems.append(f"{escape(str(job.source))}: {problem}.")
            return
        self.num_restored += 1
        for words in outcome.notes:
            self.notes.setdefault(words, Note(0, job.source)).count += 1

    def lines(self) -> list[str]:
        """What was done that people want to know, a line each."""
        lines = []
        for words, note in self.notes.items():
            subject = "1 picture" if note.count == 1 else f"{note.count:,} pictures"
            example = "" if note.count == 1 else "the first is "
            lines.append(f"{subject} {words} ({example}{escape(str(note.first))})")
        return lines


def restore_files(
    load: Callable[[], Any],
    wishes: Wishes,
    jobs: Sequence[Job],
    name: str,
    num_processes: int = 1,
) -> Report:
    """Restore pictures; those that can't be are told of, and don't stop the others.

    Args:
        load: gives a restoration pyfunc; for several processes it must be importable by name.
        wishes: how.
        jobs: which, and where to.
        name: of the model, for who waits.
        num_processes: that share the work; each loads the model.

    Raises:
        AtelierError: if the model can't be loaded, or a result not be written.
    """
    report = Report()
    if num_processes == 1:
        outcomes = _restore_here(load, wishes, jobs)
    else:
        outcomes = restore_in_processes(load, wishes, jobs, num_processes)
    for job, outcome in report_progress(outcomes, name, len(jobs), doing="restoring"):
        report.add(job, outcome)
    return report


def _restore_here(
    load: Callable[[], Any], wishes: Wishes, jobs: Sequence[Job]
) -> Iterator[tuple[Job, Outcome]]:
    served = load()
    with quiet_pillow():
        for job in jobs:
            yield job, restore_file(served, wishes, job)
