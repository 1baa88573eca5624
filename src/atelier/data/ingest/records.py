"""What the stages of an ingest hand to each other: what was read, and what is to be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

from atelier.data.sources.pictures import Candidate, Rejected
from atelier.data.splits import Split


@dataclass(frozen=True)
class Reading:
    """What a read left, beside the spooled pixels."""

    candidates: list[Candidate]
    rejected: list[Rejected]
    class_names: tuple[str, ...]  # in the order of their numbers
    source_digest: str
    warnings: list[str]  # for people, about the sources as a whole

    def as_json(self) -> list[Any]:
        """As plain JSON types, in the order of the fields."""
        # Candidates are tuples already; `astuple` of all would copy them: 3 s of 70,000.
        return [
            self.candidates,
            [astuple(picture) for picture in self.rejected],
            self.class_names,
            self.source_digest,
            self.warnings,
        ]

    @classmethod
    def from_json(cls, fields: Sequence[Any]) -> Self:
        """What `as_json` made, as JSON gave it back."""
        candidates, rejected, class_names, source_digest, warnings = fields
        return cls(
            [Candidate(*row) for row in candidates],
            [Rejected(*row) for row in rejected],
            tuple(class_names),
            source_digest,
            warnings,
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A picture to store."""

    candidate: Candidate
    split: Split

    def as_json(self) -> list[Any]:
        """As plain JSON types: the fields of the candidate, then the split."""
        return [*self.candidate, self.split]

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> Self:
        """What `as_json` made, as JSON gave it back."""
        *fields, split = row
        return cls(Candidate(*fields), split)
