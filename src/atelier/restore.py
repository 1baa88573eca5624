"""Restore picture files with a loaded model."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from atelier.errors import UsageError
from atelier.pictures import load_picture, to_pixels

PIXELS = "Atelier-Pixels"  # text of a PNG: by it a result is told from a picture of somebody else's
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


def restore_files(
    served: Any, channels: int, inputs: Sequence[Path], output: Path, settings: Mapping[str, float]
) -> int:
    """Restore each picture into `output` under its own name, as PNG; returns how many were written.

    Args:
        served: a restoration pyfunc.
        channels: of the images that the model knows.
        inputs: files, or folders whose pictures are taken (not below).
        output: folder; made if missing.
        settings: of the model: `iterations` of a recurrent one, `sigma` of one that is told the noise level.

    Raises:
        UsageError: if a result would overwrite an input, or a picture that is no result; or naming
            every input that is no picture, after the others were restored.
    """
    files = _picture_files(inputs)
    _refuse_overwriting(files, output)
    problems, written = [], 0
    for source, name in files:
        try:
            restored_NCHW = served.predict(load_picture(source, channels), params=dict(settings) or None)
            _save(output / name, to_pixels(restored_NCHW)[0])
            written += 1
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n  ".join([f"{len(problems)} of {len(files)} inputs were not restored:", *problems]))
    return written


def _refuse_overwriting(files: Sequence[tuple[Path, str]], output: Path) -> None:
    sources = {source.resolve() for source, _ in files}
    for _, name in files:
        target = output / name
        if target.resolve() in sources:
            raise UsageError(f"{target} is one of the inputs and would be overwritten. Name another folder.")
        if target.exists() and not _is_result(target):
            raise UsageError(
                f"{target} was there before: no result of `atelier restore`, or changed since. Nothing was "
                "restored. Name another folder, or move that file."
            )


def _save(path: Path, pixels_HWC: np.ndarray) -> None:
    """Write a result as PNG, with a digest by which `_is_result` knows it again."""
    # Not by `save_picture`: its module is a part of every fingerprint, so a change there retrains.
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    text = PngInfo()
    text.add_text("Software", "Atelier")
    text.add_text(PIXELS, _digest(image))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "PNG", pnginfo=text)
    except OSError as error:
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


def _picture_files(inputs: Sequence[Path]) -> list[tuple[Path, str]]:
    """(source, name of the result); pictures that share a stem are numbered: a.png, a-2.png."""
    sources: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
            if not found:
                raise UsageError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))}).")
            sources += found
        elif path.is_file():
            sources.append(path)
        else:
            raise UsageError(f"{path} does not exist.")
    files: list[tuple[Path, str]] = []
    taken: set[str] = set()
    for source in sources:
        suffixes = ("", *(f"-{n}" for n in range(2, len(sources) + 1)))
        candidates = (f"{source.stem}{suffix}.png" for suffix in suffixes)
        name = next(name for name in candidates if _folded(name) not in taken)
        taken.add(_folded(name))
        files.append((source, name))
    return files


def _folded(name: str) -> str:
    """Equal for names that are one file where the file system folds case or Unicode forms."""
    return unicodedata.normalize("NFC", name).casefold()
