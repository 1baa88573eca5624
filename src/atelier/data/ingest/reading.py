"""The stage that reads: every picture of every source is decoded, on all cores, into a spool file and a table.

It decides nothing but whether a file can be used; `validation.py` compares the pictures with each other.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from atelier.data.ingest.perceptual import perceptual_hash
from atelier.data.sources.decoding import decode, fit_pixels, quiet_pillow
from atelier.data.sources.names import shown
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
from atelier.ui.progress import counted

WINDOW = 4  # pictures in memory for each core: enough to keep it busy, few enough for photographs of 100 MB
# Seconds for a picture, below which threads lose more by passing Python's lock around than they gain: 50,000 of 32 x 32
# took 13 s without and 43 s with two threads.
WORTH_A_THREAD = 0.003
VALUES = np.arange(256)
MAX_DIGITS = 640  # of a class that is a number; Python can be set to convert no more
BLOCK = 2**20  # values counted at a time: the count takes 8 bytes for each

Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Reading:
    """What a read left in its folder, beside the spooled pixels."""

    candidates: list[Candidate]
    rejected: list[Rejected]
    class_names: tuple[str, ...]  # in the order of their numbers
    source_digest: str
    warnings: list[str]  # for people, about the sources as a whole


def read_sources(
    project_root: Path, name: str, dataset: Dataset, known: Collection[str], folder: Path
) -> None:
    """Read all sources of a dataset into an empty folder; pixels are appended to `pixels.bin` as they come.

    Args:
        project_root: what relative paths start from.
        name: of the dataset, for the progress bar.
        dataset: its sources, and the form in which its pictures are stored.
        known: content hashes of images whose pixels need not be kept.
        folder: an empty folder.

    Raises:
        DataError: if a source can't be found, fetched or trusted.
    """
    reading = Reading([], [], (), "", [])
    orders, digests = [], []
    notes: Counter[str] = Counter()
    places = dict.fromkeys(known, ELSEWHERE)
    with (
        (folder / "pixels.bin").open("wb") as spool,
        quiet_pillow(),
        ThreadPoolExecutor(num_cores()) as pool,
    ):
        for position, source in enumerate(dataset.sources):
            digests.append(
                source_digest(project_root, source)
            )  # before: what changes meanwhile is stale next time
            opened = open_source(project_root, source)
            orders.append(opened.class_names)
            reading.warnings.extend(opened.warnings)
            read = partial(_read, dataset=dataset, source=position)
            for item in counted(_in_order(pool, read, opened.items), name, opened.num_items):
                _keep(item, reading, places, spool, notes)
    for note, count in sorted(notes.items()):
        reading.warnings.append(f"{count:,} pictures: each {note}")
    described = replace(
        reading,
        class_names=_class_names(orders, reading.candidates),
        source_digest="+".join(digests),
    )
    rejected = [astuple(picture) for picture in described.rejected]
    # Candidates are tuples already; `astuple` of all would copy them: 3 s of 70,000.
    fields = [
        described.candidates,
        rejected,
        described.class_names,
        described.source_digest,
        described.warnings,
    ]
    (folder / "reading.json").write_text(json.dumps(fields), encoding="utf-8")


def load_reading(folder: Path) -> Reading:
    """What `read_sources` left in a folder."""
    fields = json.loads((folder / "reading.json").read_text(encoding="utf-8"))
    candidates, rejected, class_names, digest, warnings = fields
    pictures = [Candidate(*row) for row in candidates]
    return Reading(
        pictures, [Rejected(*row) for row in rejected], tuple(class_names), digest, warnings
    )


def spooled_pixels(spool: BinaryIO, candidate: Candidate) -> NDArray[np.uint8]:
    """HWC pixels of a candidate whose position is not ELSEWHERE, from the open `pixels.bin`."""
    height, width, channels = candidate.height, candidate.width, candidate.channels
    spool.seek(candidate.position)
    return np.frombuffer(spool.read(height * width * channels), np.uint8).reshape(
        height, width, channels
    )


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Given], Result], items: Iterable[Given]
) -> Iterator[Result]:
    """`map` with few items in memory at a time, on threads where that pays: Pillow decodes outside of Python's lock."""
    waiting: deque[Future[tuple[Result, float]]] = deque()
    cost = 0.0  # seconds for an item, averaged over the last ones

    def finished() -> Result:
        nonlocal cost
        result, seconds = waiting.popleft().result()
        cost = 0.9 * cost + 0.1 * seconds
        return result

    for item in items:
        if cost < WORTH_A_THREAD and not waiting:
            result, seconds = _timed(function, item)
            cost = 0.9 * cost + 0.1 * seconds
            yield result
            continue
        waiting.append(pool.submit(_timed, function, item))
        while len(waiting) >= WINDOW * num_cores() or (waiting and cost < WORTH_A_THREAD):
            yield finished()
    while waiting:
        yield finished()


def _timed(function: Callable[[Given], Result], item: Given) -> tuple[Result, float]:
    started = time.perf_counter()
    return function(item), time.perf_counter() - started


def _read(
    item: Encoded | Decoded | Rejected, dataset: Dataset, source: int
) -> Rejected | tuple[Candidate, NDArray[np.uint8], list[str]]:
    """One picture in the form in which it would be stored and what was done to it, or why it can't be."""
    notes: list[str] = []
    path = dataset.sources[source].path or dataset.sources[source].source
    name = shown(f"{path}/{item.name}" if len(dataset.sources) > 1 else item.name)
    if isinstance(item, Rejected):
        return replace(item, name=name, detail=shown(item.detail))
    try:
        if isinstance(item, Encoded):
            pixels_HWC = decode(item.read(), dataset, notes.append)
        else:
            pixels_HWC = fit_pixels(item.pixels_HWC, dataset)
    except Unusable as problem:
        return Rejected(name, problem.reason, problem.detail)
    mean, std = picture_statistics(pixels_HWC)
    height, width, channels = pixels_HWC.shape
    candidate = Candidate(
        name, source, item.class_name or "", item.split or "", content_hash(pixels_HWC), height, width, channels,
        ELSEWHERE, perceptual_hash(pixels_HWC), mean, std,
    )  # fmt: skip
    return candidate, pixels_HWC, notes


def picture_statistics(pixels_HWC: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of all values, from their exact counts: equal on every machine."""
    flat, counts = pixels_HWC.ravel(), np.zeros(256, np.int64)
    for start in range(0, flat.size, BLOCK):
        counts += np.bincount(flat[start : start + BLOCK], minlength=256)
    total, squares = int(counts @ VALUES), int(counts @ VALUES**2)
    mean = total / flat.size
    return round(mean, 2), round(max(0.0, squares / flat.size - mean**2) ** 0.5, 2)


def _keep(
    item: Rejected | tuple[Candidate, NDArray[np.uint8], list[str]],
    reading: Reading,
    places: dict[str, int],
    spool: BinaryIO,
    done: Counter[str],
) -> None:
    if isinstance(item, Rejected):
        reading.rejected.append(item)
        return
    candidate, pixels_HWC, notes = item
    done.update(notes)
    if candidate.sha256 not in places:  # of equal pictures one is enough
        places[candidate.sha256] = spool.tell()
        spool.write(pixels_HWC.tobytes())
    reading.candidates.append(candidate._replace(position=places[candidate.sha256]))


def _class_names(
    orders: Iterable[tuple[str, ...]], candidates: Iterable[Candidate]
) -> tuple[str, ...]:
    """Classes in the order that a source gives, then all others by name, or by number where all are numbers."""
    known = dict.fromkeys(class_name for order in orders for class_name in order)
    found = {candidate.class_name for candidate in candidates} - {""}
    others = sorted(
        found - known.keys()
    )  # 1 and 01 are one number: they stay in the order of their names
    if all(name.isdecimal() and len(name) <= MAX_DIGITS for name in others):
        others.sort(key=int)
    return (*known, *others)
