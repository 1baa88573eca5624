"""Restore picture files with a loaded model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atelier.errors import UsageError
from atelier.pictures import load_picture, save_picture, to_pixels

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
        UsageError: if a result would overwrite an input; or naming every input that is no picture, after the others
            were restored.
    """
    files = _picture_files(inputs)
    sources = {source.resolve() for source, _ in files}
    if lost := [name for _, name in files if (output / name).resolve() in sources]:
        raise UsageError(f"{output / lost[0]} is one of the inputs and would be overwritten. Name another folder.")
    problems, written = [], 0
    for source, name in files:
        try:
            restored_NCHW = served.predict(load_picture(source, channels), params=dict(settings) or None)
            save_picture(output / name, to_pixels(restored_NCHW)[0])
            written += 1
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n  ".join([f"{len(problems)} of {len(files)} inputs were not restored:", *problems]))
    return written


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
    names: dict[str, Path] = {}
    for source in sources:
        candidates = (f"{source.stem}{suffix}.png" for suffix in ("", *(f"-{n}" for n in range(2, len(sources) + 1))))
        names[next(name for name in candidates if name not in names)] = source
    return [(source, name) for name, source in names.items()]
