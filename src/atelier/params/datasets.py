"""The section `datasets` of params.yaml: where pictures come from, and how they are stored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from atelier.params.record import Fraction, Record, Sentence

# Pixels, where pictures keep their own size: the training crops of most restorers fit in.
MIN_SIZE = 64
# Keys that each kind of source understands besides `source`.
SOURCE_KEYS = {
    "fashion-mnist": {"path"},
    "folder": {"path", "labels", "label_column"},
    "archive": {"path", "sha256", "labels", "label_column"},
    "idx": {"path"},
    "parquet": {"path", "image_column", "label_column"},
}


class Source(Record):
    """One place that pictures are read from."""

    source: Literal["fashion-mnist", "folder", "archive", "idx", "parquet"]
    # From the project folder; archive: also an https address; fashion-mnist: may be left out.
    path: str | None = None
    # Of an archive; an https address needs it.
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    # A CSV file inside that names each picture's class; without it subfolders are classes.
    labels: str | None = None
    label_column: str = "label"  # of that CSV file, or of a parquet file
    image_column: str = "image"  # of a parquet file

    @model_validator(mode="after")
    def _keys_fit(self) -> Source:
        fields = type(self).model_fields
        given = {name for name in fields if getattr(self, name) != fields[name].default}
        foreign = sorted(given - SOURCE_KEYS[self.source] - {"source"})
        if foreign:
            keys = ", ".join(sorted(SOURCE_KEYS[self.source]))
            raise ValueError(
                f"source {self.source!r} takes no {', '.join(foreign)}; it takes {keys}"
            )
        if self.path is None and self.source != "fashion-mnist":
            raise ValueError(f"source {self.source!r} needs a path: add `path: ...`")
        if self.path is not None and "://" in self.path:
            if self.source != "archive" or not self.path.startswith("https://"):
                raise ValueError(
                    f"{self.path}: only an archive can be an address, and only an https:// one"
                )
            if self.sha256 is None:
                raise ValueError(f"{self.path}: a download needs its sha256: add `sha256: ...`")
        return self


class Dataset(Record):
    """One entry of `datasets`.

    The keys of a single source may stand beside the others instead of under `sources`.
    """

    # Where its pictures come from, one after another.
    sources: tuple[Source, ...] = Field(min_length=1)
    # Side of the stored squares; none: each its own size.
    image_size: int | None = Field(default=None, ge=16, le=256)
    channels: Literal[1, 3]  # as stored: grey or colour
    # For the model card: what may be done with the pictures, and who says so.
    licence: Sentence | None = None
    # How a picture becomes a square.
    fit: Literal["center-crop", "top-crop", "pad", "stretch"] = "center-crop"
    # Shortest side allowed, in pixels; none: image_size, or 64 where there is none.
    min_size: int | None = Field(default=None, ge=8)
    # Read from the header: what claims more is not decoded.
    max_pixels: int = Field(default=90_000_000, ge=1)
    # Within a split; across splits one side is kept.
    near_duplicates: Literal["quarantine", "keep"] = "quarantine"
    test_fraction: Fraction = 0.1  # used where the sources have no test split of their own
    # Of what is not test, used where they have no validation split of their own.
    validation_fraction: Fraction = 0.05
    # A larger share of unusable pictures stops the run before any training.
    max_quarantined: Fraction = 0.05

    @model_validator(mode="before")
    @classmethod
    def _single_source(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        # What a validator has seen is no JSON any more: lists are refused.
        if isinstance(raw.get("sources"), list):
            return {**raw, "sources": tuple(raw["sources"])}
        own = {key: value for key, value in raw.items() if key in Source.model_fields}
        rest = {key: value for key, value in raw.items() if key not in Source.model_fields}
        return {**rest, "sources": (own,)} if "source" in own else raw

    @property
    def shortest_side(self) -> int:
        """The shortest side that a picture may have, in pixels."""
        return self.min_size or self.image_size or MIN_SIZE
