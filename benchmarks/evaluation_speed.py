"""10,000 generated images: all our scores from one pass, against torchmetrics' FD, KID and IS.

    OMP_NUM_THREADS=1 python benchmarks/evaluation_speed.py    # two minutes

The classifier is that of params.yaml, trained on 10,000 images here; the "generated" images are
training images with noise. Ours also has intervals, precision, recall, density and coverage, which
torchmetrics has not: the ratio is given with and without the last four. Ours is timed twice: as the
first evaluation, which takes the features of the 10,000 real test images too, and as every further
one, which reads them from its file; torchmetrics' objects take them each time, and keep none.
Seconds are of CPU time on one thread, so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from atelier.data.store import StoredDataset, read_dataset
from atelier.evaluation.common import images_of
from atelier.evaluation.extractors import BATCH, Extractor, classifier_extractor
from atelier.evaluation.feature_cache import real_features
from atelier.metrics.generation import classifier_scores, distance_scores
from atelier.metrics.neighbours import neighbour_scores
from atelier.params import ClassificationModel, load_params
from atelier.project import find_project
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import train_classifier
from atelier.training.device import make_deterministic
from atelier.training.session import Session
from benchmarks.machine import described

SEED = 7
CPU = torch.device("cpu")
NUM_IMAGES = 10_000
NOISE = 0.1  # of the images that stand for generated ones, range 0 to 1


class Features(nn.Module):
    """A classifier's features, as torchmetrics wants a network."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier, self.num_features = classifier, classifier.head.in_features

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """features_BD of x_BCHW."""
        features: Tensor = self.classifier.features(x_BCHW)
        return features


def trained(recipe: ClassificationModel, dataset: StoredDataset, kimg: float) -> nn.Module:
    """The classifier after so many thousands of images."""
    training = recipe.training.model_copy(update={"kimg": kimg, "minutes": None})
    with tempfile.TemporaryDirectory() as folder:
        session = Session(
            CPU, SEED, Checkpoints(Path(folder), "speed"), lambda *_: None, lambda *_: None
        )
        return train_classifier(
            recipe.model_copy(update={"training": training}), dataset, session
        ).network


def ours(
    extractor: Extractor, dataset: StoredDataset, fake_MCHW: Tensor, kept: Path
) -> dict[str, float]:
    """FD, KID, precision, recall, density, coverage, IS and class balance, with intervals."""
    real_ND, fake_MD = (
        real_features(extractor, dataset, "test", NUM_IMAGES, kept),
        extractor.of(fake_MCHW),
    )
    probabilities_MK = extractor.probabilities(fake_MD)
    assert probabilities_MK is not None
    scores = distance_scores(real_ND, fake_MD, 0.95, SEED, "classifier")
    scores |= classifier_scores(probabilities_MK, None, 0.95, SEED)
    kid = scores["kid_classifier"]
    return {name: score.value for name, score in scores.items()} | {
        "kid_low": kid.low,
        "kid_high": kid.high,
    }


@torch.inference_mode()
def theirs(classifier: Any, real_NCHW: Tensor, fake_MCHW: Tensor) -> dict[str, float]:
    """FD, KID and IS, each from its own object with its own passes."""
    torch.manual_seed(SEED)
    features = Features(classifier)
    fd = FrechetInceptionDistance(feature=features)
    kid = KernelInceptionDistance(feature=features)  # 100 subsets of 1000, as published
    inception_score = InceptionScore(feature=classifier, splits=1)
    for metric in (fd, kid):
        for x_NCHW, real in ((real_NCHW, True), (fake_MCHW, False)):
            for x_BCHW in x_NCHW.split(BATCH):
                metric.update(x_BCHW, real=real)
    for x_BCHW in fake_MCHW.split(BATCH):
        inception_score.update(x_BCHW)
    return {
        "fd_classifier": fd.compute().item(),
        "kid_classifier": kid.compute()[0].item(),
        "is_classifier": inception_score.compute()[0].item(),
    }


def more_than_theirs(extractor: Extractor, dataset: StoredDataset, fake_MCHW: Tensor) -> float:
    """CPU seconds for precision, recall, density and coverage, which torchmetrics has not."""
    with tempfile.TemporaryDirectory() as kept:
        real_ND, fake_MD = (
            real_features(extractor, dataset, "test", NUM_IMAGES, Path(kept)),
            extractor.of(fake_MCHW),
        )
    return timed(lambda: neighbour_scores(real_ND, fake_MD, 0.95))[0]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU time, and the result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def main() -> None:
    """Print both times, their ratio, and both sides' numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--project", type=Path, help="folder with params.yaml and data/ (default: here or above)"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="of both sides in turn; the medians count"
    )
    parser.add_argument(
        "--kimg",
        type=float,
        default=10.0,
        help="training of the classifier, in thousands of images",
    )
    arguments = parser.parse_args()
    warnings.simplefilter(
        "ignore", UserWarning
    )  # torchmetrics: it keeps all features; the spread over one split
    project = find_project(arguments.project)
    params = load_params(project.params_file)
    recipe = params.models[params.evaluation.classifier]
    assert isinstance(recipe, ClassificationModel)
    make_deterministic(1)
    print(described(SEED))
    dataset = read_dataset(project.root, recipe.dataset)
    classifier = trained(recipe, dataset, arguments.kimg)
    real_NCHW, fake_MCHW = (
        torch.from_numpy(images_of(dataset, split, NUM_IMAGES)) for split in ("test", "train")
    )
    noise_MCHW = torch.randn(fake_MCHW.shape, generator=torch.Generator().manual_seed(SEED))
    fake_MCHW = (fake_MCHW + NOISE * noise_MCHW).clamp(0, 1)
    extractor = classifier_extractor(classifier, "speed/1", CPU)
    first, further, neighbours, separate = [], [], [], []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as kept:
            first.append(timed(lambda: ours(extractor, dataset, fake_MCHW, Path(kept))))
            further.append(timed(lambda: ours(extractor, dataset, fake_MCHW, Path(kept))))
        neighbours.append(more_than_theirs(extractor, dataset, fake_MCHW))
        separate.append(timed(lambda: theirs(classifier, real_NCHW, fake_MCHW)))
    own, other = further[0][1], separate[0][1]
    assert first[0][1] == own
    slow = statistics.median(seconds for seconds, _ in separate)
    print(f"torchmetrics {slow:.2f} s")
    for name, rounds in (("first evaluation", first), ("further ones", further)):
        fast = statistics.median(seconds for seconds, _ in rounds)
        same = statistics.median(
            ours[0] - more for ours, more in zip(rounds, neighbours, strict=True)
        )
        print(f"ours, {name}: {fast:.2f} s, {slow / fast:.2f} times as fast")
        print(
            f"    without precision, recall, density, coverage: {same:.2f} s, {slow / same:.2f} "
            "times as fast"
        )
    for name, value in other.items():
        print(
            f"{name}: ours {own[name]:.6f}, torchmetrics {value:.6f}, differs by "
            f"{abs(own[name] / value - 1):.1e}"
        )
    interval = f"{own['kid_low']:.6f} to {own['kid_high']:.6f}"
    print(f"KID is a mean over subsets drawn at random there; our interval of it is {interval}")
    for name in ("fd_classifier", "is_classifier"):
        assert abs(own[name] / other[name] - 1) < 1e-4, name
    assert own["kid_low"] <= other["kid_classifier"] <= own["kid_high"]


if __name__ == "__main__":
    main()
