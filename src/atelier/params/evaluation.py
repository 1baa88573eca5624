"""The section `evaluation` of params.yaml: how models are scored."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atelier.params.extractors import Features, InceptionFile, published_identity
from atelier.params.record import Fraction, Positive, Record

MOST_SPREAD = 10.0  # of latents: farther out no generator was ever trained


class Pixels(Record):
    """What is done to images before they are compared; published tables of a task agree on it."""

    luma: bool = False  # of colour images compare Y of BT.601 alone, as MATLAB's rgb2ycbcr makes it
    # Pixels that are left out all round; of enlarged images their factor.
    border: int = Field(default=0, ge=0)
    round: bool = False  # to 8 bits, as in a file


class Lpips(Record):
    """Weights of LPIPS, which nobody may have to download: a TorchScript file of yours."""

    # Of two NCHW images in [-1, 1] it makes N distances; from the project folder.
    path: str = Field(min_length=1)
    # Of the file: numbers of other weights can't be compared.
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    def resolve_paths(self, project_root: Path) -> Lpips:
        """The same file as it is to be opened from anywhere."""
        return self.model_copy(update={"path": str(project_root / self.path)})


class Sampling(Record):
    """How a trained GAN is drawn from; scored beside what it draws by itself."""

    # Standard deviation of the latents; 1: as in training. More varied above it: GaFi
    # (arXiv:2305.10118) searches from 1 to 2.
    spread: float = Field(default=1.0, gt=0, le=MOST_SPREAD)
    # Images are drawn again if evaluation.features gives their class a smaller probability.
    confidence: Fraction = 0.0

    @property
    def changes_nothing(self) -> bool:
        """Whether the GAN is drawn from as it was trained."""
        return self == Sampling()


class Evaluation(Record):
    """How models are scored; a change here scores again and trains nothing."""

    # The extractor: classifier:MODEL (its champion), classifier:MODEL/3, efficientnet_lite0 or
    # inception. Without one restorers are scored by their pixels alone.
    features: Features | None = None
    # Pixels that it sees; 224 as published, 96 in a ninth.
    efficientnet_side: int = Field(default=224, ge=32, le=224)
    inception: InceptionFile = InceptionFile()
    num_images: int = Field(ge=100)  # test images, and generated images of a GAN
    # Pixels: of larger test photographs the centre is scored.
    max_side: int = Field(default=512, ge=16)
    confidence: float = Field(gt=0.5, lt=1)  # of every interval
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
        features = self.features or ""
        return features.partition(":")[2] if "/" in features else ""

    @property
    def published_weights(self) -> str:
        """Identity of published weights as the extractor.

        Empty if it is one of our classifiers, or none.
        """
        return published_identity(self.extractor, self.efficientnet_side, self.inception)

    def resolve_paths(self, project_root: Path) -> Evaluation:
        """The same with files as they are to be opened from anywhere."""
        if self.lpips is None:
            return self
        return self.model_copy(update={"lpips": self.lpips.resolve_paths(project_root)})
