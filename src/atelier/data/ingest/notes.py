"""What a validation leaves for people: the quarantine as table and picture, counts, warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atelier.data.ingest.refusal import NO_PICTURES
from atelier.data.manifest import write_csv
from atelier.data.sources.pictures import Candidate, Reason, Rejected
from atelier.data.splits import SPLITS, Split

QUARANTINE_COLUMNS = ("name", "reason", "detail")
SHOWN = 16  # pictures of each reason


@dataclass(frozen=True)
class Findings:
    """What a validation found in a dataset."""

    name: str
    num_accepted: dict[Split, int]
    num_new: int  # of them, not in the version before
    quarantined: dict[Reason, int]  # number of pictures by reason
    warnings: tuple[str, ...]
    table: Path  # all quarantined pictures

    def page(self) -> str:
        """Counts and warnings as Markdown."""
        accepted = sum(self.num_accepted.values())
        lines = [f"# Validation of {self.name}", ""]
        lines += [f"{accepted:,} pictures are used, {self.num_new:,} of them new."]
        lines += ["", "| split | pictures |", "|---|---|"]
        lines += [f"| {split} | {self.num_accepted[split]:,} |" for split in SPLITS]
        unused = [n for reason, n in self.quarantined.items() if reason not in NO_PICTURES]
        lines += ["", f"{sum(unused):,} pictures are in quarantine; their files were not touched."]
        if self.quarantined:
            lines += ["", "| reason | files or rows |", "|---|---|"]
            lines += [f"| {reason} | {count:,} |" for reason, count in self.quarantined.items()]
        heading = "Warnings:" if self.warnings else "No warnings."
        lines += ["", heading, ""]
        lines += [f"- {warning}" for warning in self.warnings]
        return "\n".join(lines).rstrip() + "\n"


def write_quarantine(path: Path, quarantined: Sequence[Rejected]) -> None:
    """Write the quarantine table, sorted by name."""
    write_csv(path, QUARANTINE_COLUMNS, sorted(map(astuple, quarantined)))


def quarantine_sheet(
    quarantined: Sequence[Rejected],
    candidates: Mapping[str, Candidate],
    pixels: Callable[[Candidate], NDArray[np.uint8]],
) -> NDArray[np.uint8] | None:
    """A row for each reason: its name, and the pictures that could be decoded.

    None if nothing is quarantined.
    """
    from atelier.data.ingest.portrait import sheet, thumbnail  # matplotlib

    rows = []
    counts = Counter(picture.reason for picture in quarantined)
    for reason, count in sorted(counts.items()):
        names = sorted(picture.name for picture in quarantined if picture.reason == reason)
        decoded = [candidates[name] for name in names if name in candidates][:SHOWN]
        # One after the other: of photographs only little is kept in memory.
        thumbnails = [thumbnail(pixels(candidate)) for candidate in decoded]
        caption = f"{reason}: {count:,}"
        if not thumbnails:
            caption = f"{caption}, not shown: {', '.join(names[:4])}"
        rows.append((caption, thumbnails))
    return sheet(rows) if rows else None
