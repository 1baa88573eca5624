"""When a dataset is refused as a whole: too much of it is unusable. Nothing is stored then."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from atelier.data.sources.pictures import Rejected
from atelier.errors import DataError
from atelier.params import Dataset

NO_PICTURES = ("other file", "missing")  # by-catch, and rows of a table of labels
NUM_SHOWN = 5


def refuse_too_many(
    project_root: Path,
    name: str,
    dataset: Dataset,
    num_accepted: int,
    quarantined: Sequence[Rejected],
    table: Path,
) -> None:
    """Stop an ingest that would store too little of what is there.

    Args:
        project_root: the project's folder.
        name: of the dataset.
        dataset: its parameters.
        num_accepted: pictures that would be stored.
        quarantined: all that would not.
        table: of the quarantine, kept outside of the working folder if this stops.

    Raises:
        DataError: if there are no pictures, or more than `max_quarantined` of them or of the rows
            can't be used.
    """
    kept_table = refused_table(project_root, name)
    rows = [picture for picture in quarantined if picture.reason == "missing"]
    unusable = [picture for picture in quarantined if picture.reason not in NO_PICTURES]
    total = num_accepted + len(unusable)
    lost = len(unusable) + len(rows)
    if num_accepted and lost <= dataset.max_quarantined * (total + len(rows)):
        kept_table.unlink(missing_ok=True)  # of an earlier refusal
        return
    if not total:
        places = ", ".join(source.path or source.source for source in dataset.sources)
        raise DataError(f"datasets.{name}: {places} holds no pictures. Put pictures there.")
    shutil.copyfile(table, kept_table)
    first = [
        f"  {picture.name}: {picture.reason} {picture.detail}".rstrip()
        for picture in [*unusable, *rows][:NUM_SHOWN]
    ]
    lines = "\n".join(first)
    counts = _counts_in_words(total, len(unusable), len(rows))
    raise DataError(
        f"datasets.{name}: {counts}, more than max_quarantined = "
        f"{dataset.max_quarantined:.1%} allows; nothing was changed. The first ones:\n{lines}\n"
        f"All are listed in {kept_table}. {_advice(name, num_accepted, bool(unusable), bool(rows))}"
    )


def refused_table(project_root: Path, name: str) -> Path:
    """The quarantine table of a dataset that was not stored because of it."""
    return project_root / ".atelier" / f"quarantine-{name}.csv"


def _counts_in_words(total: int, num_unusable: int, num_rows: int) -> str:
    """Pictures and rows apart: a row without a picture is none."""
    pictures = f"{num_unusable} of {total} pictures are unusable ({num_unusable / total:.1%})"
    rows = f"{num_rows} rows name a picture that is not there"
    if not num_rows:
        return pictures
    return f"{pictures} and {rows}" if num_unusable else f"{rows} (of {total} that are)"


def _advice(name: str, num_accepted: int, has_unusable: bool, has_rows: bool) -> str:
    steps = ["Correct the table of labels."] if has_rows else []
    if not num_accepted:  # no limit would help
        steps.append("Repair or remove them.")
    elif has_unusable:
        steps.append(f"Repair or remove them, or raise datasets.{name}.max_quarantined.")
    return " ".join(steps)
