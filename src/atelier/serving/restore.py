"""Restore picture files with a loaded model."""

from __future__ import annotations

import contextlib
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from atelier.data.sources.appearance import Tell
from atelier.data.sources.decoding import OwnSize, decode, quiet_pillow
from atelier.data.sources.layout import is_hidden
from atelier.data.sources.names import escape
from atelier.data.sources.pictures import Unusable
from atelier.data.sources.signatures import NUM_BYTES, PICTURE_ENDINGS, starts_like_a_picture
from atelier.errors import UsageError
from atelier.pictures import to_pixels

PIXELS = "Atelier-Pixels"  # text of a PNG: by it a result is told from a picture of somebody else's


def restore_files(
    served: Any,
    channels: int,
    inputs: Sequence[Path],
    output: Path,
    settings: Mapping[str, float],
    tell: Tell = lambda note: None,
) -> int:
    """Restore each picture into `output` under its own name, as PNG in sRGB; returns how many.

    Pictures are read as an ingest reads them, so the model sees what it was trained on.

    Args:
        served: a restoration pyfunc.
        channels: of the images that the model knows.
        inputs: files, or folders whose visible pictures are taken (not below).
        output: folder; made if missing.
        settings: of the model: `iterations` of a recurrent one, `sigma` of one that is told the
            noise level.
        tell: is told what was done to a picture, or left out, that people may want to know.

    Raises:
        UsageError: if a result would overwrite an input, or a picture that is no result; or naming
            every input that can't be restored, after the others were.
    """
    files = _picture_files(inputs, tell)
    _refuse_overwriting(files, output)
    problems = []
    with quiet_pillow():
        for source, name in files:
            try:
                x_1CHW = read_picture(source, channels, partial(_tell_of, source, tell))
                _save(output / name, _restore(served, x_1CHW, settings))
            except UsageError as error:
                problems.append(f"{source}: {error}")
    if problems:
        lines = [f"{len(problems)} of {len(files)} inputs were not restored:", *problems]
        raise UsageError("\n  ".join(lines))
    return len(files)


def read_picture(path: Path, channels: int, tell: Tell) -> NDArray[np.float32]:
    """A picture file as float32 1CHW in [0, 1], grey or RGB, as an ingest would store it.

    Raises:
        UsageError: why not, without its name.
    """
    try:
        pixels_HWC = decode(path.read_bytes(), OwnSize(channels), tell)
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}.") from None
    except Unusable as error:
        raise UsageError(f"{error}.") from None
    return np.moveaxis(pixels_HWC.astype(np.float32) / np.float32(255), -1, 0)[None]


def _restore(
    served: Any, x_1CHW: NDArray[np.float32], settings: Mapping[str, float]
) -> NDArray[np.uint8]:
    """Ask the model, and give HWC pixels; what fails for one picture is said of that one."""
    height, width = x_1CHW.shape[2:]
    try:
        pixels_1HWC = to_pixels(served.predict(x_1CHW, params=dict(settings) or None))
    except (MemoryError, RuntimeError) as error:
        # Of the CPU's memory torch has no error of its own.
        if isinstance(error, MemoryError) or "memory" in str(error):
            problem = "need more memory than there is. Cut the picture into parts"
        else:
            problem = f"are not what the model can restore: {str(error).splitlines()[0]}"
        raise UsageError(f"its {width} x {height} pixels {problem}.") from None
    restored_HWC: NDArray[np.uint8] = pixels_1HWC[0]
    return restored_HWC


def _tell_of(source: Path, tell: Tell, note: str) -> None:
    tell(f"{escape(str(source))} {note}")


def _refuse_overwriting(files: Sequence[tuple[Path, str]], output: Path) -> None:
    sources = {source.resolve() for source, _ in files}
    for _, name in files:
        target = output / name
        if target.resolve() in sources:
            raise UsageError(
                f"{target} is one of the inputs and would be overwritten. Name another folder."
            )
        if target.exists() and not _is_result(target):
            raise UsageError(
                f"{target} was there before: no result of `atelier restore`, or changed since. "
                "Nothing was restored. Name another folder, or move that file."
            )


def _save(path: Path, pixels_HWC: NDArray[np.uint8]) -> None:
    """Write a result as PNG, with a digest by which `_is_result` knows it again."""
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    text = PngInfo()
    text.add_text("Software", "Atelier")
    text.add_text(PIXELS, _digest(image))
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(new, "PNG", pnginfo=text)
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise UsageError(f"{path} can't be written: {error.strerror or error}.") from None


def _is_result(path: Path) -> bool:
    """Whether `_save` wrote a file and nobody changed its pixels since."""
    try:
        with Image.open(path) as image:
            return PIXELS in image.info and image.info[PIXELS] == _digest(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _digest(image: Image.Image) -> str:
    return hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).hexdigest()


def _picture_files(inputs: Sequence[Path], tell: Tell) -> list[tuple[Path, str]]:
    """(source, name of the result); pictures that share a stem are numbered: a.png, a-2.png."""
    sources: list[Path] = []
    for path in inputs:
        if path.is_dir():
            sources += _pictures_in(path, tell)
        elif path.is_file():
            sources.append(path)
        else:
            raise UsageError(f"{path} does not exist.")
    files: list[tuple[Path, str]] = []
    taken: set[str] = set()
    for source in sources:
        name = f"{source.stem}.png"
        number = 1
        while _fold(name) in taken:
            number += 1
            name = f"{source.stem}-{number}.png"
        taken.add(_fold(name))
        files.append((source, name))
    return files


def _pictures_in(folder: Path, tell: Tell) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not is_hidden(path.name))
    pictures = [path for path in files if _is_picture(path)]
    if not pictures:
        raise UsageError(f"{folder} holds no pictures ({len(files)} other files).")
    if len(pictures) < len(files):
        tell(f"{folder} holds {len(files) - len(pictures)} other files, which were left out")
    return pictures


def _is_picture(path: Path) -> bool:
    """By its first bytes; or by its name, so that a damaged one is told of."""
    if path.suffix.lower() in PICTURE_ENDINGS:
        return True
    try:
        with path.open("rb") as file:
            return starts_like_a_picture(file.read(NUM_BYTES))
    except OSError:
        return False


def _fold(name: str) -> str:
    """Make names equal that are one file where the file system folds case or Unicode forms."""
    return unicodedata.normalize("NFC", name).casefold()
