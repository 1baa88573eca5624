"""The records of params.yaml but for datasets, degradations and networks: models, evaluation, promotion, the whole.

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
    crop: int = Field(
        default=0, ge=0
    )  # pixels: pad by reflection, then crop back at a random place
    cutout: int = Field(default=0, ge=0)  # pixels: side of a box of mid grey at a random place


class DiscriminatorAugment(Record):
    """Random changes of all that a GAN's discriminator sees, real and generated, for little data (DiffAugment, ADA)."""

    flip: bool = False  # mirror left-right
    quarter_turns: bool = False  # rotate by 0, 90, 180 or 270 degrees
    translation: float = Field(
        default=0.0, ge=0, le=0.5
    )  # by up to this share of the side; 0.125 in both papers
    cutout: float = Field(
        default=0.0, ge=0, lt=1
    )  # side of a box of mid grey, as a share of the image's; 0.5 in both
    colour: bool = False  # brightness, contrast, and of colour images saturation
    probability: (
        Literal["adaptive"] | Annotated[float, Field(gt=0, le=1)]
    )  # of each change; 1.0: DiffAugment
    # The next two are of adaptive (ADA): what the mean sign of the discriminator on real images is held at (0.6 unless
    # given), and in how many thousand images the probability can go from 0 to 1 (100; the paper's trainings take 500).
    target: float | None = Field(default=None, gt=0, lt=1)
    adapt_kimg: Positive | None = None

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
                f"probability {self.probability} does not adapt. Remove {' and '.join(unread)}, or write "
                "`probability: adaptive`"
            )
        if not (self.flip or self.quarter_turns or self.translation or self.cutout or self.colour):
            raise ValueError(
                "it changes nothing. Add `translation: 0.125, cutout: 0.5, colour: true`, or flip or quarter_turns, "
                "or remove it"
            )
        return self


class TrainingData(Record):
    """Which part of the dataset a model learns from."""

    limit: int | None = Field(
        default=None, ge=1
    )  # training images: a fixed subset, nested in every larger one


class Extend(Record):
    """Images that a registered GAN draws, added to the training images; `extend: GAN` for short."""

    gan: ReferenceText
    images: int | None = Field(
        default=None, ge=1
    )  # none: as many as the training images, 20,000 at most

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"gan": given} if isinstance(given, str) else given


class RestorationData(TrainingData):
    """The same for a restorer, whose pictures need no labels, so that generated ones can be among them."""

    extend: Extend | None = None


def _kimg(given: dict[str, Any]) -> float:
    """Length of a training, as far as it is known from its other values."""
    return given.get("kimg") or math.inf


class Training(Record):
    """Budget, optimizer and rhythm of a training; all lengths are counted in thousands of images seen (kimg)."""

    kimg: Positive | None = None  # the budget: this, or `minutes`
    minutes: Positive | None = None  # of CPU time, all threads together; on CUDA of the clock
    batch_size: int = Field(ge=1)  # of all devices and parts together
    accumulate: int = Field(
        default=1, ge=1
    )  # parts that a batch is computed in, one after another: to save memory
    devices: int = Field(
        default=1, ge=1
    )  # processes that share each batch: one a GPU, or several on a CPU
    lr: Positive  # peak learning rate of Adam: linear warm-up, then cosine decay to zero
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    warmup_kimg: float = Field(default=0.0, ge=0)
    ema_halflife_kimg: Positive = 5.0  # the weights that are registered are this moving average
    clip_gradients: Positive | None = None  # largest norm of the gradient of all weights
    precision: Literal["auto", "float32", "bfloat16"] = (
        "auto"  # of the networks; auto: bfloat16 on CUDA alone
    )
    compile: bool = False  # torch.compile: minutes at the start, faster steps
    crop_size: int | None = Field(
        default=None, ge=16
    )  # side of random training crops; none: whole images
    augment: Augment = Augment()
    # Unless given, 20 reports and 2 samples in a training of less than 100 kimg. The last step of any does all three.
    log_every_kimg: Positive = Field(default_factory=lambda given: min(5.0, _kimg(given) / 20))
    sample_every_kimg: Positive = Field(
        default_factory=lambda given: min(50.0, _kimg(given) / 2)
    )  # and validation
    checkpoint_every_kimg: Positive = 50.0

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
    dataset: Name
    data: TrainingData = TrainingData()
    network: CnnClassifierNetwork
    training: Training


class GanModel(Record):
    """A generator trained against a discriminator."""

    kind: Literal["gan"]
    purpose: Sentence | None = None  # for the model card; none: what its parameters say
    dataset: Name
    data: TrainingData = TrainingData()
    generator: GeneratorNetwork
    discriminator: DiscriminatorNetwork
    conditional: bool | None = (
        None  # draws a class that is asked for; left out: where the pictures have classes
    )
    loss: Literal[
        "minimax", "non-saturating", "relativistic", "least-squares", "hinge", "wasserstein"
    ]
    r1_gamma: float = Field(
        ge=0
    )  # weight of the gradient penalty on real images; 0 switches it off
    r2_gamma: float = Field(ge=0)  # the same on generated images
    gp_weight: float = Field(
        default=0.0, ge=0
    )  # of the penalty that holds slopes between the two at 1 (WGAN-GP: 10)
    discriminator_augment: DiscriminatorAugment | None = None
    refine: ReferenceText | None = (
        None  # a restorer, stored with the generator: what is generated has passed through it
    )
    training: Training

    @model_validator(mode="after")
    def _bounded_critic(self) -> GanModel:
        penalised = self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_weight > 0
        bounded = penalised or isinstance(
            self.discriminator, ResnetDiscriminatorNetwork
        )  # spectral normalisation
        if self.loss == "wasserstein" and not bounded:
            raise ValueError(
                "loss 'wasserstein' grows without end unless the discriminator's slope is held: add `gp_weight: 10`, "
                "or take the discriminator 'resnet', whose weights are normalised"
            )
        return self


class Adversarial(Record):
    """Patch discriminators that tell restored from real images, and what fooling them is worth."""

    weight: Positive  # of the adversarial loss, beside the others; images are in [0, 1] there
    width: int = Field(default=32, ge=4, le=512)  # feature maps at half resolution
    layers: int = Field(
        default=2, ge=1, le=6
    )  # halvings after the first: patches of 18, 34, 66, ... pixels
    loss: Literal["non-saturating", "least-squares", "hinge"] = "least-squares"
    lr: Positive | None = None  # peak learning rate of the discriminators; none: training.lr
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)  # of their Adam


class RestorationModel(Record):
    """A network that undoes a degradation."""

    kind: Literal["restoration"]
    purpose: Sentence | None = None  # for the model card; none: what its parameters say
    dataset: Name
    data: RestorationData = RestorationData()
    degradation: tuple[Degradation, ...] = Field(min_length=1)
    network: RestorerNetwork
    loss: Literal["l2", "l1", "charbonnier"]
    adversarial: Adversarial | None = (
        None  # pix2pix: a sharper image, farther from the mean of all possible ones
    )
    compare_with: Name | None = (
        None  # another restorer of the same: scored by the paired difference to its champion
    )
    training: Training


class TranslationModel(Record):
    """A restorer that learns from damaged and clean pictures of which no two belong together (CycleGAN)."""

    kind: Literal["translation"]
    purpose: Sentence | None = None  # for the model card; none: what its parameters say
    dataset: Name  # clean pictures
    data: TrainingData = TrainingData()
    damaged: Name | None = None  # a dataset of really damaged pictures; or
    degradation: tuple[Degradation, ...] | None = Field(
        default=None, min_length=1
    )  # what damages half of the clean
    network: RestorerNetwork  # of both generators
    adversarial: Adversarial = Adversarial(weight=1.0)
    cycle_weight: Positive = (
        1.0  # of the mean absolute error of clean -> damaged -> clean, and of the way round
    )
    identity_weight: float = Field(
        default=0.0, ge=0
    )  # of that of clean pictures that are restored to themselves
    pool_size: int = Field(default=50, ge=0)  # former fakes that each discriminator still sees
    training: Training

    @model_validator(mode="after")
    def _one_source_of_damage(self) -> TranslationModel:
        if (self.damaged is None) == (self.degradation is None):
            raise ValueError(
                "a translation learns either from a dataset of damaged pictures or from a degradation: give exactly "
                "one of `damaged: DATASET` and `degradation: [...]`"
            )
        return self


Model = Annotated[
    ClassificationModel | GanModel | RestorationModel | TranslationModel,
    Field(discriminator="kind"),
]


class Evaluation(Record):
    """How models are scored; a change here scores again and trains nothing."""

    # The extractor: classifier:MODEL (its champion), classifier:MODEL/3, efficientnet_lite0 or inception. Without one
    # restorers are scored by their pixels alone.
    features: Features | None = None
    efficientnet_side: int = Field(
        default=224, ge=32, le=224
    )  # pixels that it sees; 224 as published, 96 in a ninth
    inception: InceptionFile = InceptionFile()
    num_images: int = Field(ge=100)  # test images, and generated images of a GAN
    max_side: int = Field(
        default=512, ge=16
    )  # pixels: of larger test photographs the centre is scored
    confidence: float = Field(gt=0.5, lt=1)
    pixels: Pixels = Pixels()
    lpips: Lpips | None = None
    cas_kimg: Positive = 100.0  # training budget of the classifier that sees generated images only

    @property
    def extractor(self) -> str:
        """What scores are named after: classifier, efficientnet or inception; empty if there is no extractor."""
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
    def published(self) -> str:
        """Identity of published weights as the extractor; empty if it is one of our classifiers, or none."""
        return published_identity(self.extractor, self.efficientnet_side, self.inception)

    def located(self, project_root: Path) -> Evaluation:
        """The same with files as they are to be opened from anywhere."""
        return (
            self.model_copy(update={"lpips": self.lpips.located(project_root)})
            if self.lpips
            else self
        )


class Params(Record):
    """The desired state: all of params.yaml."""

    seed: int = Field(ge=0, lt=2**31)
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    threads: (
        Literal["auto"] | Annotated[int, Field(ge=1)]
    )  # CPU threads of torch; results differ between counts
    datasets: dict[Name, Dataset]
    models: dict[Name, Model]
    evaluation: Evaluation
    promotion: Promotion = Promotion()
    schedules: Schedules = Field(default_factory=dict)

    def resolved(self) -> dict[str, Any]:
        """All values, defaults included, as plain JSON types."""
        return self.model_dump(mode="json", exclude_none=True)
