"""Which files are restored, and where their results go; refused before any work."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from atelier.data.sources.layout import is_hidden
from atelier.data.sources.names import escape, list_some
from atelier.data.sources.signatures import NUM_BYTES, PICTURE_ENDINGS, starts_like_a_picture
from atelier.errors import UsageError

# Of results in a format that was asked for; others keep their names.
ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}
COMPARE = "-compare"

Existing = Literal["refuse", "skip", "overwrite"]


@dataclass(frozen=True)
class Job:
    """A picture to restore."""

    source: Path
    target: Path
    comparison: Path | None  # where before and after go; None: nowhere

    def targets(self) -> list[Path]:
        """All files that are written for it."""
        return [self.target] if self.comparison is None else [self.comparison, self.target]


def list_jobs(
    inputs: Sequence[Path],
    output: Path,
    file_format: str | None = None,
    compare: bool = False,
    existing: Existing = "refuse",
    tell: Callable[[str], None] = lambda note: None,
) -> list[Job]:
    """What there is to do.

    Args:
        inputs: files, folders that are searched to their ends, or patterns as `photos/**/*.jpg`;
            below a folder and a pattern's first part, results lie as their sources do.
        output: folder of the results.
        file_format: of the results; None: each its own.
        compare: also write before and after.
        existing: what to do with results that are there already.
        tell: is told what was left out.

    Raises:
        UsageError: if an input isn't there, two results would have one name, or one would
            overwrite an input, a file that is there, or become an input of the next run.
    """
    sources: dict[Path, tuple[Path, Path]] = {}
    for path in inputs:
        for source, relative in _find(path, output, tell):
            sources.setdefault(source.resolve(), (source, relative))
    jobs = []
    for source, relative in sources.values():
        target = output / relative
        if file_format is not None:
            stem = target.stem if target.suffix.lower() in PICTURE_ENDINGS else target.name
            target = target.with_name(stem + ENDINGS[file_format])
        comparison = target.with_name(f"{target.stem}{COMPARE}{target.suffix}")
        jobs.append(Job(source, target, comparison if compare else None))
    _refuse_equal_names(jobs)
    _refuse_folder(output)
    for job in jobs:
        for target in job.targets():
            if target.resolve() in sources:
                raise UsageError(
                    f"{target} is one of the inputs and would be overwritten. Name another folder."
                )
    remaining = _without_existing(jobs, existing)
    if len(remaining) < len(jobs):
        tell(f"{len(jobs) - len(remaining)} pictures were restored before and were left out")
    return remaining


def _find(path: Path, output: Path, tell: Callable[[str], None]) -> Iterator[tuple[Path, Path]]:
    """The pictures of an input, and their places below the output."""
    if path.is_dir():
        _refuse_inside(path, output)
        yield from _pictures_of(path, list(_walk(path)), tell)
    elif path.is_file():
        yield path, Path(path.name)
    elif glob.has_magic(str(path)):
        base = _plain_part(path)
        if "**" in path.parts:
            _refuse_inside(base, output)
        matches = map(Path, sorted(glob.glob(str(path), recursive=True)))
        files = [match for match in matches if match.is_file()]
        yield from _pictures_of(base, files, tell, f"{path} fits")
    else:
        raise UsageError(f"{path} does not exist.")


def _refuse_inside(folder: Path, output: Path) -> None:
    if output.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"the results would lie in {output}, inside of {folder}, and be inputs of the next "
            "run. Name a folder outside of it with -o."
        )


def _walk(folder: Path) -> Iterator[Path]:
    """All visible files below a folder, sorted."""

    def explain(error: OSError) -> None:
        raise UsageError(f"{error.filename} can't be read: {error.strerror}.") from None

    for place, folders, names in os.walk(folder, onerror=explain):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(names):
            if not is_hidden(name) and (Path(place) / name).is_file():
                yield Path(place) / name


def _plain_part(pattern: Path) -> Path:
    """The folder that a pattern begins with."""
    plain = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        plain.append(part)
    return Path(*plain)


def _pictures_of(
    folder: Path, files: Sequence[Path], tell: Callable[[str], None], subject: str = ""
) -> list[tuple[Path, Path]]:
    pictures = [path for path in files if _is_picture(path)]
    subject = subject or f"{folder} holds"
    if not pictures:
        raise UsageError(f"{subject} no pictures ({len(files)} other files).")
    if len(pictures) < len(files):
        tell(f"{subject} {len(files) - len(pictures)} other files, which were left out")
    return [(path, path.relative_to(folder)) for path in pictures]


def _is_picture(path: Path) -> bool:
    """By its first bytes; or by its name, so that a damaged one is told of."""
    if path.suffix.lower() in PICTURE_ENDINGS:
        return True
    try:
        with path.open("rb") as file:
            return starts_like_a_picture(file.read(NUM_BYTES))
    except OSError:
        return False


def _refuse_equal_names(jobs: Sequence[Job]) -> None:
    taken: dict[str, Path] = {}
    for job in jobs:
        for target in job.targets():
            name = _fold(str(target))
            if name in taken:
                raise UsageError(
                    f"{taken[name]} and {job.source} would both become {target}. Nothing was "
                    "restored. Restore them one after the other, each with its own -o."
                )
            taken[name] = job.source


def _fold(name: str) -> str:
    """Make names equal that are one file where the file system folds case or Unicode forms."""
    return unicodedata.normalize("NFC", name).casefold()


def _refuse_folder(output: Path) -> None:
    """Refuse a folder that can't be made, or not be written to."""
    nearest = output.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UsageError(f"{output} can't be a folder: {nearest} is none. Name another with -o.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"{output} can't be written to: {nearest} is not writable for you.")


def _without_existing(jobs: list[Job], existing: Existing) -> list[Job]:
    if existing == "overwrite":
        return jobs
    if existing == "skip":
        return [job for job in jobs if not all(map(os.path.lexists, job.targets()))]
    there = []
    for job in jobs:
        there += [escape(str(target)) for target in job.targets() if os.path.lexists(target)]
    if there:
        raise UsageError(
            f"{list_some(there)} was there before. Nothing was restored. Name another folder with "
            "-o, or give --skip-existing or --overwrite."
        )
    return jobs
