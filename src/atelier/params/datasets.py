"""The section `datasets` of params.yaml: where pictures come from, and the form they are stored in."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from atelier.params.record import Fraction, Record, Sentence

MIN_SIZE = (
    64  # pixels, where pictures keep their own size: the training crops of most restorers fit in
)
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
    path: str | None = (
        None  # from the project folder; archive: also an https address; fashion-mnist: may be left out
    )
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$"
    )  # of an archive; an https address needs it
    labels: str | None = (
        None  # a CSV file inside that names each picture's class; without it subfolders are classes
    )
    label_column: str = "label"  # of that CSV file, or of a parquet file
    image_column: str = "image"  # of a parquet file

    @model_validator(mode="after")
    def _keys_fit(self) -> Source:
        fields = type(self).model_fields
        given = {
            name
            for name in fields
            if name != "source" and getattr(self, name) != fields[name].default
        }
        if foreign := sorted(given - SOURCE_KEYS[self.source]):
            known = ", ".join(sorted(SOURCE_KEYS[self.source]))
            raise ValueError(
                f"source {self.source!r} takes no {', '.join(foreign)}; it takes {known}"
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
    """One entry of `datasets`; the keys of a single source may stand beside the others instead of under `sources`."""

    sources: tuple[Source, ...] = Field(min_length=1)
    image_size: int | None = Field(
        default=None, ge=16, le=256
    )  # side of the stored squares; none: each its own size
    channels: Literal[1, 3]
    licence: Sentence | None = (
        None  # for the model card: what may be done with the pictures, and who says so
    )
    fit: Literal["center-crop", "top-crop", "pad", "stretch"] = (
        "center-crop"  # how a picture becomes a square
    )
    min_size: int | None = Field(
        default=None, ge=8
    )  # shortest side allowed; default: image_size, or MIN_SIZE
    max_pixels: int = Field(
        default=90_000_000, ge=1
    )  # read from the header: what claims more is not decoded
    near_duplicates: Literal["quarantine", "keep"] = (
        "quarantine"  # within a split; across splits one side is kept
    )
    test_fraction: Fraction = 0.1  # used where the sources have no test split of their own
    validation_fraction: Fraction = (
        0.05  # of what is not test, used where they have no validation split of their own
    )
    max_quarantined: Fraction = (
        0.05  # a larger share of unusable pictures stops the run before any training
    )

    @model_validator(mode="before")
    @classmethod
    def _single_source(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        if isinstance(
            raw.get("sources"), list
        ):  # what a validator has seen is no JSON any more: lists are refused
            return {**raw, "sources": tuple(raw["sources"])}
        own = {key: value for key, value in raw.items() if key in Source.model_fields}
        rest = {key: value for key, value in raw.items() if key not in Source.model_fields}
        return {**rest, "sources": (own,)} if "source" in own else raw

    @property
    def shortest_side(self) -> int:
        """The shortest side that a picture may have, in pixels."""
        return self.min_size or self.image_size or MIN_SIZE
