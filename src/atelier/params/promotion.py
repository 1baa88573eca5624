"""The section `promotion` of params.yaml: when a version may become champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atelier.params.record import Positive, Record


class Gate(Record):
    """When a version may become champion: floors and slices hold, and `metric` is proven better, pair by pair."""

    metric: str
    margin: float = Field(
        default=0.0, ge=0
    )  # what the improvement of `metric` has to exceed, in its units
    floors: dict[str, float] = Field(default_factory=dict)  # worst acceptable value of each metric
    slice_margin: float | None = Field(
        default=None, ge=0
    )  # how much worse `metric` may be in a class or level
    max_milliseconds: Positive | None = (
        None  # for one image of the size that it learnt, on this machine
    )


class Promotion(Record):
    """Who decides and how surely, and one gate for each kind of model."""

    approval: Literal["auto", "manual"] = (
        "auto"  # manual: what the gate would promote waits for `atelier approve`
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5
    )  # accepted probability of promoting what is no better
    classification: Gate = Gate(metric="accuracy")
    gan: Gate = Gate(metric="kid_classifier")
    restoration: Gate = Gate(metric="psnr")
    translation: Gate = Gate(metric="psnr")
