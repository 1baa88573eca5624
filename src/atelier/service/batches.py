"""What waits for the networks: one queue, and together what one pass can answer.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.errors import AtelierError
from atelier.service.fleet import Served
from atelier.service.measures import Measures

Floats = NDArray[np.float32]

BATCH_PIXELS = 2**19  # in one pass; the served model cuts larger pictures into tiles
BATCH_IMAGES = 16


class Full(AtelierError):
    """More waits than may."""


@dataclass(eq=False)
class Work:
    """One question to a model.

    Attributes:
        served: whom.
        question: images x_NCHW, or a GAN's table.
        settings: of a restorer, by name.
        pixels: of the answer or the question, whichever there are: how much memory it takes.
        answer: the model's, or why there is none.
    """

    served: Served
    question: Any
    settings: dict[str, float]
    pixels: int
    answer: Future[Floats] = field(default_factory=Future)

    def fits(self, other: Work) -> bool:
        """Whether one pass can answer both."""
        if self.served is not other.served or self.served.kind != "restoration":
            return False
        same_size = self.question.shape[1:] == other.question.shape[1:]
        return bool(same_size and self.settings == other.settings)


class Batches:
    """A queue in front of the networks, and the thread that asks them.

    Args:
        most: questions that may wait.
        most_pixels: of all that wait, together.
        measures: told how much waits, and how much goes through together.
    """

    def __init__(self, most: int, most_pixels: int, measures: Measures) -> None:
        self._most = most
        self._most_pixels = most_pixels
        self._measures = measures
        self._waiting: deque[Work] = deque()
        self._pixels = 0
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="networks", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def end(self) -> None:
        """Answer what waits, and take no more."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def put(self, work: Work) -> Future[Floats]:
        """Let a question wait for its answer; who needs it no more cancels that.

        Raises:
            Full: if too much waits already.
        """
        with self._changed:
            if self._ended:
                raise Full("the service is ending. Ask again in a moment.")
            too_large = self._waiting and self._pixels + work.pixels > self._most_pixels
            if len(self._waiting) >= self._most or too_large:
                raise Full(
                    f"{len(self._waiting)} pictures of {self._pixels:,} pixels wait already. "
                    "Ask again in a moment."
                )
            self._waiting.append(work)
            self._pixels += work.pixels
            self._measures.waiting.set(len(self._waiting))
            self._changed.notify()
        return work.answer

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = self._take()
                self._measures.waiting.set(len(self._waiting))
            asked = [work for work in batch if work.answer.set_running_or_notify_cancel()]
            if asked:
                self._measures.batch.observe(len(asked))
                for work in asked:
                    self._measures.pixels.labels(work.served.name).inc(work.pixels)
                _answer(asked)

    def _take(self) -> list[Work]:
        """The first that waits, and what goes through with it, in the order in which they came."""
        first = self._waiting.popleft()
        batch = [first]
        if first.served.kind == "restoration":
            most = min(BATCH_IMAGES, BATCH_PIXELS // first.pixels)
            for work in list(self._waiting):
                if len(batch) >= most:
                    break
                if first.fits(work):
                    self._waiting.remove(work)
                    batch.append(work)
        self._pixels -= sum(work.pixels for work in batch)
        return batch


def _answer(batch: list[Work]) -> None:
    """Ask the model once for all; where that fails, for each, so that one can't spoil another."""
    first = batch[0]
    question = first.question
    if len(batch) > 1:
        question = np.concatenate([work.question for work in batch])
    try:
        answers = first.served.model.predict(None, question, first.settings)
    except Exception as error:  # whatever a model may raise belongs to who asked
        if len(batch) == 1:
            first.answer.set_exception(error)
            return
        for work in batch:
            _answer([work])
        return
    if len(batch) == 1:
        first.answer.set_result(answers)
        return
    for number, work in enumerate(batch):
        work.answer.set_result(answers[number : number + 1])
