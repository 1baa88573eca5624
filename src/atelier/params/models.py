"""The records of models in params.yaml, and of the whole file.

A record's field is a key of params.yaml; its type and range are the documentation.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from atelier.params.datasets import Dataset
from atelier.params.degradations import Degradation
from atelier.params.evaluation import Evaluation, Sampling
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
from atelier.params.training import (
    DiscriminatorAugment,
    RestorationData,
    Training,
    TrainingData,
)


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
    # Steps of which one has penalties, so many times as large: faster (StyleGAN2: 16).
    penalty_every: int = Field(default=1, ge=1)
    discriminator_augment: DiscriminatorAugment | None = None
    # A restorer, stored with the generator: what is generated has passed through it.
    refine: ReferenceText | None = None
    # How it is drawn from after training, scored beside what it draws by itself.
    sampling: Sampling | None = None
    training: Training

    @model_validator(mode="after")
    def _bounded_critic(self) -> GanModel:
        penalised = self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_weight > 0
        if self.penalty_every > 1 and not penalised:
            raise ValueError(
                f"penalty_every: {self.penalty_every} has no penalty to leave out. Add `r1_gamma: "
                "1.0`, or remove it"
            )
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
    """A restorer that learns from damaged and clean pictures that form no pairs (CycleGAN)."""

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
