"""The records of a training in params.yaml: its data, augmentation, budget and rhythm."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from atelier.params.record import Fraction, Positive, Record, ReferenceText


class Augment(Record):
    """Random changes of training images, for little data; none in evaluation."""

    flip: bool = False  # mirror left-right
    quarter_turns: bool = False  # rotate by 0, 90, 180 or 270 degrees
    rotate: float = Field(default=0.0, ge=0, le=45)  # by up to so many degrees either way, bilinear
    # Pixels: pad by reflection, then crop back at a random place.
    crop: int = Field(default=0, ge=0)
    cutout: int = Field(default=0, ge=0)  # pixels: side of a box of mid grey at a random place


class DiscriminatorAugment(Record):
    """Random changes of all that a GAN's discriminator sees, for little data (DiffAugment, ADA)."""

    flip: bool = False  # mirror left-right
    quarter_turns: bool = False  # rotate by 0, 90, 180 or 270 degrees
    # By up to this share of the side; 0.125 in both papers.
    translation: float = Field(default=0.0, ge=0, le=0.5)
    # Side of a box of mid grey, as a share of the image's; 0.5 in both.
    cutout: float = Field(default=0.0, ge=0, lt=1)
    colour: bool = False  # brightness, contrast, and of colour images saturation
    # Of each change; 1.0: DiffAugment.
    probability: Literal["adaptive"] | Annotated[float, Field(gt=0, le=1)]
    # The next two are of adaptive (ADA): what the mean sign of the discriminator on real images is
    # held at (0.6 unless given), and in how many thousand images the probability can go from 0 to 1
    # (100; the paper's trainings take 500).
    target: float | None = Field(default=None, gt=0, lt=1)
    adapt_kimg: Positive | None = None  # of adaptive as well

    @model_validator(mode="before")
    @classmethod
    def _adaptive_by_default(cls, given: Any) -> Any:
        """Written into the record, so that the resolved parameters name them."""
        if isinstance(given, dict) and given.get("probability") == "adaptive":
            return {"target": 0.6, "adapt_kimg": 100.0, **given}
        return given

    @model_validator(mode="after")
    def _everything_has_an_effect(self) -> DiscriminatorAugment:
        unread = [name for name in ("target", "adapt_kimg") if getattr(self, name) is not None]
        if self.probability != "adaptive" and unread:
            raise ValueError(
                f"probability {self.probability} does not adapt. Remove {' and '.join(unread)}, or "
                "write `probability: adaptive`"
            )
        if not (self.flip or self.quarter_turns or self.translation or self.cutout or self.colour):
            raise ValueError(
                "it changes nothing. Add `translation: 0.125, cutout: 0.5, colour: true`, or flip "
                "or quarter_turns, or remove it"
            )
        return self


class TrainingData(Record):
    """Which part of the dataset a model learns from."""

    # Training images: a fixed subset, nested in every larger one.
    limit: int | None = Field(default=None, ge=1)


class Extend(Record):
    """Images that a registered GAN draws, added to the training images; `extend: GAN` for short."""

    gan: ReferenceText  # that draws them
    # None: as many as the training images, 20,000 at most.
    images: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"gan": given} if isinstance(given, str) else given


class RestorationData(TrainingData):
    """The same for a restorer; it needs no labels, so generated pictures can be among its own."""

    extend: Extend | None = None


def _kimg(given: dict[str, Any]) -> float:
    """Length of a training, as far as it is known from its other values."""
    return given.get("kimg") or math.inf


class Training(Record):
    """Budget, optimizer and rhythm of a training.

    All lengths are counted in thousands of images seen (kimg).
    """

    kimg: Positive | None = None  # the budget: this, or `minutes`
    minutes: Positive | None = None  # of CPU time, all threads together; on CUDA of the clock
    batch_size: int = Field(ge=1)  # of all devices and parts together
    # Parts that a batch is computed in, one after another: to save memory.
    accumulate: int = Field(default=1, ge=1)
    # Processes that share each batch: one a GPU, or several on a CPU.
    devices: int = Field(default=1, ge=1)
    lr: Positive  # peak learning rate of Adam: linear warm-up, then cosine decay to zero
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)  # of Adam: decay of its two moments
    # The learning rate rises to `lr` in so many thousand images.
    warmup_kimg: float = Field(default=0.0, ge=0)
    ema_halflife_kimg: Positive = 5.0  # the weights that are registered are this moving average
    clip_gradients: Positive | None = None  # largest norm of the gradient of all weights
    # Of the networks; auto: bfloat16 on CUDA alone.
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False  # torch.compile: minutes at the start, faster steps
    # Side of random training crops; none: whole images.
    crop_size: int | None = Field(default=None, ge=16)
    augment: Augment = Augment()
    # Unless given, 20 reports and 2 samples in a training of less than 100 kimg. The last step of
    # any does all three.
    log_every_kimg: Positive = Field(default_factory=lambda given: min(5.0, _kimg(given) / 20))
    # And validation.
    sample_every_kimg: Positive = Field(default_factory=lambda given: min(50.0, _kimg(given) / 2))
    checkpoint_every_kimg: Positive = 50.0  # what a killed training goes on from

    @model_validator(mode="after")
    def _one_budget(self) -> Training:
        if (self.kimg is None) == (self.minutes is None):
            raise ValueError("give either kimg or minutes: the length of the training")
        if self.batch_size % (self.devices * self.accumulate):
            raise ValueError(
                f"batch_size = {self.batch_size} must be a multiple of devices * accumulate = "
                f"{self.devices * self.accumulate}, so that each part is equally large"
            )
        return self
