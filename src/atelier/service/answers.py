"""From a request's bytes to the answer's: decoded and encoded beside the networks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from atelier.pictures import grid, to_pixels
from atelier.service.batches import Batches, Work
from atelier.service.fleet import Served
from atelier.serving.files.picture import Picture, model_input, read_picture, with_answers
from atelier.serving.files.writing import fit_to_format, write_quickly

if TYPE_CHECKING:
    from atelier.service.sightings import Sightings

Floats = NDArray[np.float32]
Result = TypeVar("Result")

LOOK_SECONDS = 0.5  # how often is looked whether a client still waits
GRID_COLUMNS = 10


class Gone(Exception):
    """The client went away."""


@dataclass(frozen=True)
class Form:
    """How an answer is to be written.

    Attributes:
        file_format: Pillow's name; None: that of the question.
        quality: 1 to 100, of JPEG and WebP.
    """

    file_format: str | None = None
    quality: int | None = None


@dataclass(frozen=True)
class Answer:
    """A picture file, and what was done to it that people want to know."""

    content: bytes
    file_format: str
    notes: tuple[str, ...] = ()


@dataclass
class Kitchen:
    """Answers requests.

    Attributes:
        batches: the queue in front of the networks.
        sightings: where statistics of pictures go.
        max_pixels: of a picture.
        pool: threads that decode and encode.
    """

    batches: Batches
    sightings: Sightings
    max_pixels: int
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(thread_name_prefix="pictures")
    )

    async def restore(
        self, served: Served, content: bytes, settings: dict[str, float], form: Form, asks: Request
    ) -> Answer:
        """A picture file, restored.

        Raises:
            Unusable: if it is no picture, or has too many pixels.
            UsageError: if the format can't hold it.
            Full: if too much waits already.
            ValueError: if the model doesn't take a setting.
            Gone: if the client went away.
        """
        began = time.perf_counter()
        channels = served.config["channels"]
        picture, x_1CHW = await self._run(self._read, content, channels)
        answers = []
        for number in range(len(picture.frames)):
            if number:
                x_1CHW = await self._run(model_input, picture, number, channels)
            pixels = x_1CHW.shape[2] * x_1CHW.shape[3]
            work = Work(served, x_1CHW, settings, pixels)
            answers.append(await _wait(self.batches.put(work), asks))
        answer = await self._run(_write, picture, answers, form)
        if self.sightings.wanted():
            facts = {
                "version": served.version.number,
                "format": picture.file_format,
                "depth": picture.depth,
                "bytes": len(content),
                "seconds": round(time.perf_counter() - began, 4),
            }
            note = self.sightings.note
            self.pool.submit(note, served.name, facts, x_1CHW, answers[-1])
        return answer

    async def draw(
        self, served: Served, row: dict[str, Any], single: bool, form: Form, asks: Request
    ) -> Answer:
        """Images of a GAN, as one grid, or the single one as it is.

        Raises:
            Full: if too much waits already.
            ValueError: if the model doesn't take a value of the row.
            Gone: if the client went away.
        """
        import pandas as pd

        pixels = row["num_images"] * served.config["image_size"] ** 2
        work = Work(served, pd.DataFrame([row]), {}, pixels)
        x_NCHW = await _wait(self.batches.put(work), asks)
        return await self._run(_write_grid, x_NCHW, single, form)

    def _read(self, content: bytes, channels: int) -> tuple[Picture, Floats]:
        picture = read_picture(content, self.max_pixels)
        return picture, model_input(picture, 0, channels)

    async def _run(self, do: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.pool, do, *arguments)


async def _wait(answer: Future[Floats], asks: Request) -> Floats:
    """The answer, unless the client goes away before; then nothing is done for it any more."""
    waiting = asyncio.wrap_future(answer)
    while True:
        done, _ = await asyncio.wait({waiting}, timeout=LOOK_SECONDS)
        if done:
            return waiting.result()
        if await asks.is_disconnected():
            waiting.cancel()
            raise Gone


def _write(picture: Picture, answers: list[Floats], form: Form) -> Answer:
    file_format = form.file_format or picture.file_format
    restored = fit_to_format(with_answers(picture, answers), file_format)
    content = write_quickly(restored, file_format, form.quality)
    return Answer(content, file_format, restored.notes)


def _write_grid(x_NCHW: Floats, single: bool, form: Form) -> Answer:
    columns = min(GRID_COLUMNS, max(1, round(len(x_NCHW) ** 0.5)))
    pixels_HWC = to_pixels(x_NCHW)[0] if single else grid(x_NCHW, columns)
    file_format = form.file_format or "PNG"
    picture = Picture([pixels_HWC], None, 8, file_format)
    return Answer(write_quickly(picture, file_format, form.quality), file_format)
