"""The base of every section of params.yaml, and the types that several sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Also a file name, an MLflow name and a Prefect artifact key: nothing to escape.
MODEL_NAME = r"^[a-z0-9][a-z0-9-]*$"
Name = Annotated[str, Field(pattern=MODEL_NAME)]
# A version of a registered model: its champion (`name`), `name@alias`, or `name/number`.
ReferenceText = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9-]*(@[a-z][a-z0-9-]*|/[1-9][0-9]*)?$")
]
Sentence = Annotated[str, Field(min_length=1, max_length=500)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Record(BaseModel):
    """A frozen section of params.yaml that refuses unknown keys and never converts a type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
