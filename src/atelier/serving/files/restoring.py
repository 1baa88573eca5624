"""One picture: from a file through a model to a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.data.sources.layout import MAX_FILE_BYTES
from atelier.data.sources.pictures import Unusable
from atelier.errors import UsageError
from atelier.serving.files.exchange import enlarge, model_input, with_answers
from atelier.serving.files.listing import Job
from atelier.serving.files.metadata import without_gps
from atelier.serving.files.reading import read_picture
from atelier.serving.files.record import Picture, Pixels
from atelier.serving.files.writing import fit_to_format, write_picture
from atelier.ui.outputs import replace_file


@dataclass(frozen=True)
class Wishes:
    """How all pictures of a command are restored."""

    channels: int  # of the model
    settings: Mapping[str, float] = field(default_factory=dict)  # of the model
    file_format: str | None = None  # None: each its own
    quality: int | None = None
    drop_gps: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a picture."""

    notes: tuple[str, ...] = ()
    problem: str | None = None  # None: it was restored


def restore_file(served: Any, wishes: Wishes, job: Job) -> Outcome:
    """Restore a picture file; what is wrong with it is told by the outcome.

    Args:
        served: a restoration pyfunc.
        wishes: how.
        job: which, and where to.

    Raises:
        UsageError: if a result can't be written, for want of room as well.
    """
    try:
        picture = _read(job.source)
        answered = with_answers(picture, _ask(served, picture, wishes))
        if wishes.drop_gps:
            answered = replace(answered, exif=without_gps(answered.exif))
        restored = fit_to_format(answered, wishes.file_format or picture.file_format)
        contents = [write_picture(restored, wishes.file_format, wishes.quality)]
        if job.comparison is not None:
            both = _side_by_side(picture, answered)
            contents.insert(0, write_picture(both, wishes.file_format, wishes.quality))
    except (UsageError, Unusable) as error:
        return Outcome(problem=str(error))
    except (OSError, ValueError) as error:  # an encoder's own refusal
        return Outcome(problem=f"its result can't be encoded: {error}")
    except MemoryError:
        return Outcome(problem="needs more memory than there is. Cut the picture into parts")
    for path, content in zip(job.targets(), contents, strict=True):
        save(path, content)
    return Outcome(notes=restored.notes)


def save(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UsageError: why not.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise UsageError(
            f"{path} can't be written: {error.strerror or error}. What was restored before is "
            "kept; --skip-existing goes on from there."
        ) from None


def _read(path: Path) -> Picture:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Unusable("too large", f"more than {MAX_FILE_BYTES // 2**20} MiB")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}") from None
    return read_picture(content)


def _ask(served: Any, picture: Picture, wishes: Wishes) -> Iterator[NDArray[np.float32]]:
    """The model's answer for one frame after the other."""
    for number, pixels_HWC in enumerate(picture.frames):
        x_1CHW = model_input(picture, number, wishes.channels)
        try:
            yield served.predict(x_1CHW, params=dict(wishes.settings) or None)
        except (MemoryError, RuntimeError, ValueError) as error:
            height, width = pixels_HWC.shape[:2]
            # Of the CPU's memory torch has no error of its own.
            if isinstance(error, MemoryError) or "memory" in str(error):
                problem = "need more memory than there is. Cut the picture into parts"
            else:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                problem = f"are not what the model can restore: {reason}"
            raise UsageError(f"its {width} x {height} pixels {problem}") from None


def _side_by_side(before: Picture, after: Picture) -> Picture:
    """Each frame before and after, the former in the latter's size."""
    frames = [_join(*pair) for pair in zip(before.frames, after.frames, strict=True)]
    alpha = None
    if before.alpha is not None and after.alpha is not None:
        alpha = [_join(*pair) for pair in zip(before.alpha, after.alpha, strict=True)]
    return replace(after, frames=frames, alpha=alpha)


def _join(before: Pixels, after: Pixels) -> Pixels:
    joint: Pixels = np.concatenate([enlarge(before, after.shape[:2]), after], axis=1)
    return joint
