"""The stage that reads: every picture of every source is decoded, on all cores.

It fills a spool file and a table.
It decides nothing but whether a file can be used; `validation.py` compares the pictures with each
other.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from atelier.data.ingest.perceptual import perceptual_hash
from atelier.data.ingest.records import Reading
from atelier.data.ingest.workspace import Workspace
from atelier.data.sources.decoding import decode, fit_pixels, quiet_pillow
from atelier.data.sources.names import escape
from atelier.data.sources.opening import open_source, source_digest
from atelier.data.sources.pictures import (
    ELSEWHERE,
    Candidate,
    Decoded,
    Encoded,
    Rejected,
    Unusable,
    content_hash,
)
from atelier.params import Dataset
from atelier.ui.progress import report_progress

# Pictures in memory for each core: enough to keep it busy, few enough for photographs of 100 MB.
WINDOW = 4
# Seconds for a picture, below which threads lose more by passing Python's lock around than they
# gain: 50,000 of 32 x 32 took 13 s without and 43 s with two threads.
WORTH_A_THREAD = 0.003
VALUES = np.arange(256)
MAX_DIGITS = 640  # of a class that is a number; Python can be set to convert no more
BLOCK = 2**20  # values counted at a time: the count takes 8 bytes for each

Given = TypeVar("Given")
Result = TypeVar("Result")


class _Picture(NamedTuple):
    """A picture as it would be stored, and what was done to it."""

    candidate: Candidate
    pixels_HWC: NDArray[np.uint8]
    notes: list[str]


@dataclass
class _Intake:
    """What was read so far."""

    positions: dict[str, int]  # of pixels in the spool, by content hash
    candidates: list[Candidate] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    orders: list[tuple[str, ...]] = field(default_factory=list)  # of classes, by source
    digests: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)  # what was done to how many pictures

    def add(self, result: Rejected | _Picture, spool: BinaryIO) -> None:
        """Take one more picture; of equal ones the pixels are kept once."""
        if isinstance(result, Rejected):
            self.rejected.append(result)
            return
        self.notes.update(result.notes)
        sha256 = result.candidate.sha256
        if sha256 not in self.positions:
            self.positions[sha256] = spool.tell()
            spool.write(result.pixels_HWC.tobytes())
        self.candidates.append(result.candidate._replace(position=self.positions[sha256]))

    def complete(self) -> Reading:
        """All of it, when nothing is left to be read."""
        notes = [f"{count:,} pictures: each {note}" for note, count in sorted(self.notes.items())]
        class_names = _class_names(self.orders, self.candidates)
        digest = "+".join(self.digests)
        warnings = [*self.warnings, *notes]
        return Reading(self.candidates, self.rejected, class_names, digest, warnings)


def read_sources(
    project_root: Path,
    name: str,
    dataset: Dataset,
    intact: Collection[str],
    workspace: Workspace,
) -> None:
    """Read all sources of a dataset into an empty working folder.

    Pixels are appended to its spool as they come.

    Args:
        project_root: what relative paths start from.
        name: of the dataset, for the progress bar.
        dataset: its sources, and the form in which its pictures are stored.
        intact: content hashes of images whose pixels need not be kept.
        workspace: the working folder.

    Raises:
        DataError: if a source can't be found, fetched or trusted.
    """
    reading = _Intake(dict.fromkeys(intact, ELSEWHERE))
    with (
        workspace.spool.open("wb") as spool,
        quiet_pillow(),
        ThreadPoolExecutor(num_cores()) as pool,
    ):
        for number, source in enumerate(dataset.sources):
            # Before it is read: what changes meanwhile is stale next time.
            reading.digests.append(source_digest(project_root, source))
            opened = open_source(project_root, source)
            reading.orders.append(opened.class_names)
            reading.warnings.extend(opened.warnings)
            read = partial(_read, dataset=dataset, source=number)
            results = _in_order(pool, read, opened.items)
            for result in report_progress(results, name, opened.num_items):
                reading.add(result, spool)
    workspace.write_reading(reading.complete())


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Given], Result], items: Iterable[Given]
) -> Iterator[Result]:
    """`map` with few items in memory at a time, on threads where that pays.

    Pillow decodes outside of Python's lock.
    """
    waiting: deque[Future[tuple[Result, float]]] = deque()
    cost = 0.0  # seconds for an item, averaged over the last ones

    def take_first() -> Result:
        nonlocal cost
        result, seconds = waiting.popleft().result()
        cost = 0.9 * cost + 0.1 * seconds
        return result

    for argument in items:
        if cost < WORTH_A_THREAD and not waiting:
            result, seconds = _measure(function, argument)
            cost = 0.9 * cost + 0.1 * seconds
            yield result
            continue
        waiting.append(pool.submit(_measure, function, argument))
        while len(waiting) >= WINDOW * num_cores() or (waiting and cost < WORTH_A_THREAD):
            yield take_first()
    while waiting:
        yield take_first()


def _measure(function: Callable[[Given], Result], argument: Given) -> tuple[Result, float]:
    """The answer of a function, and how many seconds it took."""
    started = time.perf_counter()
    return function(argument), time.perf_counter() - started


def _read(
    given: Encoded | Decoded | Rejected, dataset: Dataset, source: int
) -> Rejected | _Picture:
    """One picture in the form in which it would be stored, or why it can't be."""
    notes: list[str] = []
    path = dataset.sources[source].path or dataset.sources[source].source
    name = escape(f"{path}/{given.name}" if len(dataset.sources) > 1 else given.name)
    if isinstance(given, Rejected):
        return replace(given, name=name, detail=escape(given.detail))
    try:
        if isinstance(given, Encoded):
            pixels_HWC = decode(given.read(), dataset, notes.append)
        else:
            pixels_HWC = fit_pixels(given.pixels_HWC, dataset)
    except Unusable as problem:
        return Rejected(name, problem.reason, problem.detail)
    mean, std = picture_statistics(pixels_HWC)
    height, width, channels = pixels_HWC.shape
    candidate = Candidate(
        name=name,
        source=source,
        class_name=given.class_name or "",
        split=given.split or "",
        sha256=content_hash(pixels_HWC),
        height=height,
        width=width,
        channels=channels,
        position=ELSEWHERE,
        phash=perceptual_hash(pixels_HWC),
        mean=mean,
        std=std,
    )
    return _Picture(candidate, pixels_HWC, notes)


def picture_statistics(pixels_HWC: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of all values, from their exact counts.

    They are equal on every machine.
    """
    flat = pixels_HWC.ravel()
    counts = np.zeros(256, np.int64)
    for start in range(0, flat.size, BLOCK):
        counts += np.bincount(flat[start : start + BLOCK], minlength=256)
    total = int(counts @ VALUES)
    squares = int(counts @ VALUES**2)
    mean = total / flat.size
    variance = max(0.0, squares / flat.size - mean**2)
    return round(mean, 2), round(variance**0.5, 2)


def _class_names(
    orders: Iterable[tuple[str, ...]], candidates: Iterable[Candidate]
) -> tuple[str, ...]:
    """Classes in the order that a source gives, then all others.

    Those by name, or by number where all are numbers.
    """
    first = dict.fromkeys(chain.from_iterable(orders))
    used = {candidate.class_name for candidate in candidates} - {""}
    # 1 and 01 are one number: they stay in the order of their names.
    others = sorted(used - first.keys())
    if all(name.isdecimal() and len(name) <= MAX_DIGITS for name in others):
        others.sort(key=int)
    return (*first, *others)
