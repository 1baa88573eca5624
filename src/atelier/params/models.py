"""The records of params.yaml but for datasets, degradations and networks.

Models, evaluation, promotion, the whole.
A record's field is a key of params.yaml; its type and range are the documentation.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from atelier.params.datasets import Dataset
from atelier.params.degradations import Degradation
from atelier.params.evaluation import Lpips, Pixels
from atelier.params.extractors import Features, InceptionFile, published_identity
from atelier.params.networks import (
    CnnClassifierNetwork,
    DiscriminatorNetwork,
    GeneratorNetwork,
    ResnetDiscriminatorNetwork,
    RestorerNetwork,
)
from atelier.params.promotion import Promotion
from atelier.params.record import Fraction, Name, Positive, Record, ReferenceText, Sentence
from atelier.params.schedules import Schedules


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


class ClassificationModel(Record):
    """A classifier; it also serves as feature extractor for the scores of other models."""

    kind: Literal["classification"]
    purpose: Sentence | None = None  # for the model card; none: what its parameters say
    dataset: Name  # that it learns, and is scored on; one with classes
    data: TrainingData = TrainingData()
    network: CnnClassifierNetwork
    training: Training


class GanModel(Record):
    """A generator trained against a discriminator."""

    kind: Literal["gan"]
    purpose: Sentence | None = None  # for the model card; none: what its parameters say
    dataset: Name  # whose pictures it learns to draw
    data: TrainingData = TrainingData()
    generator: GeneratorNetwork  # draws; one of several, by `name`
    discriminator: DiscriminatorNetwork  # judges; one of several, by `name`
    # Draws a class that is asked for; left out: where the pictures have classes.
    conditional: bool | None = None
    # What generator and discriminator play for; `wasserstein` needs a penalty.
    loss: Literal[
        "minimax", "non-saturating", "relativistic", "least-squares", "hinge", "wasserstein"
    ]
    # Weight of the gradient penalty on real images; 0 switches it off.
    r1_gamma: float = Field(ge=0)
    r2_gamma: float = Field(ge=0)  # the same on generated images
    # Of the penalty that holds slopes between the two at 1 (WGAN-GP: 10).
    gp_weight: float = Field(default=0.0, ge=0)
    discriminator_augment: DiscriminatorAugment | None = None
    # A restorer, stored with the generator: what is generated has passed through it.
    refine: ReferenceText | None = None
    training: Training

    @model_validator(mode="after")
    def _bounded_critic(self) -> GanModel:
        penalised = self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_weight > 0
        # Spectral normalisation.
        bounded = penalised or isinstance(self.discriminator, ResnetDiscriminatorNetwork)
        if self.loss == "wasserstein" and not bounded:
            raise ValueError(
                "loss 'wasserstein' grows without end unless the discriminator's slope is held: "
                "add `gp_weight: 10`, or take the discriminator 'resnet', whose weights are "
                "normalised"
            )
        return self


class Adversarial(Record):
    """Patch discriminators that tell restored from real images, and what fooling them is worth."""

    weight: Positive  # of the adversarial loss, beside the others; images are in [0, 1] there
    width: int = Field(default=32, ge=4, le=512)  # feature maps at half resolution
    # Halvings after the first: patches of 18, 34, 66, ... pixels.
    layers: int = Field(default=2, ge=1, le=6)
    # What restorer and discriminators play for.
    loss: Literal["non-saturating", "least-squares", "hinge"] = "least-squares"
    lr: Positive | None = None  # peak learning rate of the discriminators; none: training.lr
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)  # of their Adam


class RestorationModel(Record):
    """A network that undoes a degradation."""

    kind: Literal["restoration"]
    purpose: Sentence | None = None  # for the model card; none: what its parameters say
    dataset: Name  # of clean pictures: it learns from them, damaged
    data: RestorationData = RestorationData()
    # What it undoes: steps, one after another.
    degradation: tuple[Degradation, ...] = Field(min_length=1)
    network: RestorerNetwork  # one of several, by `name`
    # Of the pixels: mean squared, mean absolute, or sqrt(difference^2 + epsilon^2).
    loss: Literal["l2", "l1", "charbonnier"]
    # pix2pix: a sharper image, farther from the mean of all possible ones.
    adversarial: Adversarial | None = None
    # Another restorer of the same: scored by the paired difference to its champion.
    compare_with: Name | None = None
    training: Training


class TranslationModel(Record):
    """A restorer that learns from damaged and clean pictures without pairs (CycleGAN)."""

    kind: Literal["translation"]
    purpose: Sentence | None = None  # for the model card; none: what its parameters say
    dataset: Name  # clean pictures
    data: TrainingData = TrainingData()
    damaged: Name | None = None  # a dataset of really damaged pictures; or `degradation`
    # What damages half of the clean.
    degradation: tuple[Degradation, ...] | None = Field(default=None, min_length=1)
    network: RestorerNetwork  # of both generators; one of several, by `name`
    adversarial: Adversarial = Adversarial(weight=1.0)
    # Of the mean absolute error of clean -> damaged -> clean, and of the way round.
    cycle_weight: Positive = 1.0
    # Of that of clean pictures that are restored to themselves.
    identity_weight: float = Field(default=0.0, ge=0)
    pool_size: int = Field(default=50, ge=0)  # former fakes that each discriminator still sees
    training: Training

    @model_validator(mode="after")
    def _one_source_of_damage(self) -> TranslationModel:
        if (self.damaged is None) == (self.degradation is None):
            raise ValueError(
                "a translation learns either from a dataset of damaged pictures or from a "
                "degradation: give exactly one of `damaged: DATASET` and `degradation: [...]`"
            )
        return self


Model = Annotated[
    ClassificationModel | GanModel | RestorationModel | TranslationModel,
    Field(discriminator="kind"),
]


class Evaluation(Record):
    """How models are scored; a change here scores again and trains nothing."""

    # The extractor: classifier:MODEL (its champion), classifier:MODEL/3, efficientnet_lite0 or
    # inception. Without one restorers are scored by their pixels alone. Left out: the classifier of
    # the pictures that a GAN draws, if there is just one.
    features: Features | None = None
    # Pixels that it sees; 224 as published, 96 in a ninth.
    efficientnet_side: int = Field(default=224, ge=32, le=224)
    inception: InceptionFile = InceptionFile()
    num_images: int = Field(ge=100)  # test images, and generated images of a GAN
    # Pixels: of larger test photographs the centre is scored.
    max_side: int = Field(default=512, ge=16)
    confidence: float = Field(gt=0.5, lt=1)  # of the intervals around scores
    pixels: Pixels = Pixels()
    lpips: Lpips | None = None
    cas_kimg: Positive = 100.0  # training budget of the classifier that sees generated images only

    @property
    def extractor(self) -> str:
        """What scores are named after: classifier, efficientnet or inception; empty: nothing."""
        return (self.features or "").partition(":")[0].removesuffix("_lite0")

    @property
    def classifier(self) -> str:
        """Name of the model whose features are used; empty if it is none of ours."""
        return (self.features or "").partition(":")[2].partition("/")[0]

    @property
    def classifier_version(self) -> str:
        """`name/number` if that version is the extractor, whichever is champion; else empty."""
        return (self.features or "").partition(":")[2] if "/" in (self.features or "") else ""

    @property
    def published_weights(self) -> str:
        """Identity of published weights as the extractor.

        Empty if it is one of our classifiers, or none.
        """
        return published_identity(self.extractor, self.efficientnet_side, self.inception)

    def resolve_paths(self, project_root: Path) -> Evaluation:
        """The same with files as they are to be opened from anywhere."""
        return (
            self.model_copy(update={"lpips": self.lpips.resolve_paths(project_root)})
            if self.lpips
            else self
        )


class Params(Record):
    """The desired state: all of params.yaml."""

    # Of every draw: weights, batches, noise, bootstraps. The same seed gives the same model.
    seed: int = Field(ge=0, lt=2**31)
    # Where torch computes; auto: a GPU if it sees one.
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    # CPU threads of torch; results differ between counts.
    threads: Literal["auto"] | Annotated[int, Field(ge=1)]
    datasets: dict[Name, Dataset]  # pictures that models learn from and are scored on
    models: dict[Name, Model]  # each a registered model of that name; its `kind` says which keys
    evaluation: Evaluation
    promotion: Promotion = Promotion()
    schedules: Schedules = Field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All values, defaults included, as plain JSON types."""
        return self.model_dump(mode="json", exclude_none=True)
