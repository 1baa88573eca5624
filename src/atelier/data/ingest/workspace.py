"""The working folder through which the stages of one ingest talk: one property for each file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atelier.data.ingest.records import Accepted, Reading
from atelier.data.manifest import write_csv
from atelier.data.sources.pictures import ELSEWHERE, Candidate
from atelier.data.store import LOCAL_NOTES, StoredDataset
from atelier.errors import DataError

NAMES_COLUMNS = ("name", "sha256")


@dataclass(frozen=True)
class Workspace:
    """A folder that `read` fills, `validate` adds to, and `store` empties."""

    folder: Path

    @classmethod
    def of(cls, project_root: Path, name: str) -> Workspace:
        """The one of a dataset."""
        return cls(project_root / ".atelier" / "tmp" / f"read-{name}")

    @property
    def spool(self) -> Path:
        """The pixels that were read, one picture after the other."""
        return self.folder / "pixels.bin"

    @property
    def reading(self) -> Path:
        """What was read besides: a `Reading`."""
        return self.folder / "reading.json"

    @property
    def selection(self) -> Path:
        """The pictures to store."""
        return self.folder / "accepted.json"

    @property
    def names(self) -> Path:
        """Which file is which image; for people, as are all that follow."""
        return self.folder / "names.csv"

    @property
    def quarantine(self) -> Path:
        """What is not stored, and why."""
        return self.folder / "quarantine.csv"

    @property
    def quarantine_picture(self) -> Path:
        """How that looks."""
        return self.folder / "quarantine.png"

    @property
    def page(self) -> Path:
        """Counts and warnings."""
        return self.folder / "validation.md"

    def begin(self) -> None:
        """Make the folder, empty, whatever a run that was killed left there."""
        self.remove()
        self.folder.mkdir(parents=True)

    def remove(self) -> None:
        """Remove the folder, as far as that is possible."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def write_reading(self, reading: Reading) -> None:
        """Keep what was read."""
        self.reading.write_text(json.dumps(reading.as_json()), encoding="utf-8")

    def load_reading(self) -> Reading:
        """What `write_reading` kept."""
        return Reading.from_json(json.loads(self.reading.read_text(encoding="utf-8")))

    def write_selection(self, accepted: Sequence[Accepted]) -> None:
        """Keep the pictures to store, and the names of their files."""
        rows = [picture.as_json() for picture in accepted]
        self.selection.write_text(json.dumps(rows), encoding="utf-8")
        candidates = [picture.candidate for picture in accepted]
        names = sorted((candidate.name, candidate.sha256) for candidate in candidates)
        write_csv(self.names, NAMES_COLUMNS, names)

    def load_selection(self) -> list[Accepted]:
        """The pictures that `write_selection` kept."""
        rows = json.loads(self.selection.read_text(encoding="utf-8"))
        return [Accepted.from_json(row) for row in rows]

    def write_notes(self, page: str, quarantine_picture: NDArray[np.uint8] | None) -> None:
        """Keep what people look at; there is no picture of an empty quarantine."""
        self.page.write_text(page, encoding="utf-8")
        if quarantine_picture is not None:
            Image.fromarray(quarantine_picture).save(self.quarantine_picture)

    def copy_notes(self, target: Path) -> None:
        """Copy what stays with a stored dataset on this machine."""
        for note in LOCAL_NOTES:
            if (self.folder / note).exists():
                shutil.copyfile(self.folder / note, target / note)

    @contextmanager
    def open_pixels(
        self, before: StoredDataset | None
    ) -> Iterator[Callable[[Candidate], NDArray[np.uint8]]]:
        """Pixels of a candidate: in the spool, or where the stored version has them."""
        stored = None
        rows: dict[str, int] = {}
        if before is not None:
            stored = before.all_images()
            rows = {sha256: row for row, sha256 in enumerate(before.manifest.sha256)}

        def pixels(candidate: Candidate) -> NDArray[np.uint8]:
            if candidate.position != ELSEWHERE:
                return spooled_pixels(spool, candidate)
            assert stored is not None  # `read` looked into the same version
            return stored[rows[candidate.sha256]]

        with self.spool.open("rb") as spool:
            yield pixels

    @contextmanager
    def explain_failures(self, name: str) -> Iterator[None]:
        """Turn failures to write into words; whatever fails, the folder is removed."""
        try:
            yield
        except OSError as error:
            self.remove()
            raise DataError(
                f"data/{name} can't be written: {error}. What was stored before is untouched. "
                "Make room, then run again."
            ) from None
        except BaseException:
            self.remove()
            raise


def spooled_pixels(spool: BinaryIO, candidate: Candidate) -> NDArray[np.uint8]:
    """HWC pixels of a candidate whose position is not ELSEWHERE, from the open spool."""
    shape = (candidate.height, candidate.width, candidate.channels)
    spool.seek(candidate.position)
    content = spool.read(candidate.height * candidate.width * candidate.channels)
    return np.frombuffer(content, np.uint8).reshape(shape)
