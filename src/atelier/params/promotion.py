"""The section `promotion` of params.yaml: when a version may become champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atelier.params.record import Positive, Record


class Gate(Record):
    """When a version may become champion.

    Floors and slices hold, and `metric` is proven better, pair by pair.
    """

    metric: str  # that a version has to be better in than the champion
    # What the improvement of `metric` has to exceed, in its units.
    margin: float = Field(default=0.0, ge=0)
    floors: dict[str, float] = Field(default_factory=dict)  # worst acceptable value of each metric
    # How much worse `metric` may be in a class or level.
    slice_margin: float | None = Field(default=None, ge=0)
    # For one image of the size that it learnt, on this machine.
    max_milliseconds: Positive | None = None


class Promotion(Record):
    """Who decides and how surely, and one gate for each kind of model."""

    # manual: what the gate would promote waits for `atelier approve`.
    approval: Literal["auto", "manual"] = "auto"
    # Accepted probability of promoting what is no better.
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    classification: Gate = Gate(metric="accuracy")
    gan: Gate = Gate(metric="kid_classifier")
    restoration: Gate = Gate(metric="psnr")
    translation: Gate = Gate(metric="psnr")
