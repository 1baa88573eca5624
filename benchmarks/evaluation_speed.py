"""10,000 generated images: all our scores from one pass, against FD, KID and IS from separate torchmetrics objects.

    python benchmarks/evaluation_speed.py    # three minutes on 2 cores

The classifier is that of params.yaml, trained on 30,000 images here; the "generated" images are training images with
noise. Both sides begin with pixels, real and generated, and take the features anew. torchmetrics has no precision,
recall, density and coverage, so ours computes more.
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
from atelier.metrics.generation import classifier_scores, distance_scores
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
KID_SUBSETS = 10  # of 1000 images, as many as our disjoint blocks; torchmetrics' own 100 would take it longer


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
        session = Session(CPU, SEED, Checkpoints(Path(folder), "speed"), lambda *_: None, lambda *_: None)
        return train_classifier(recipe.model_copy(update={"training": training}), dataset, session).network


def ours(extractor: Extractor, real_NCHW: Tensor, fake_MCHW: Tensor) -> dict[str, float]:
    """FD, KID, precision, recall, density, coverage, IS and the balance of the classes, with their intervals."""
    real_ND, fake_MD = extractor.of(real_NCHW), extractor.of(fake_MCHW)
    probabilities_MK = extractor.probabilities(fake_MD)
    assert probabilities_MK is not None
    scores = distance_scores(real_ND, fake_MD, 0.95, SEED, "classifier")
    scores |= classifier_scores(probabilities_MK, None, 0.95, SEED)
    kid = scores["kid_classifier"]
    return {name: score.value for name, score in scores.items()} | {"kid_low": kid.low, "kid_high": kid.high}


@torch.inference_mode()
def theirs(classifier: Any, real_NCHW: Tensor, fake_MCHW: Tensor) -> dict[str, float]:
    """FD, KID and IS, each from its own object with its own passes."""
    torch.manual_seed(SEED)
    features = Features(classifier)
    fd = FrechetInceptionDistance(feature=features)
    kid = KernelInceptionDistance(feature=features, subsets=KID_SUBSETS, subset_size=NUM_IMAGES // KID_SUBSETS)
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


def timed(work: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    """Seconds, and the result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main() -> None:
    """Print both times, their ratio, and both sides' numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, help="folder with params.yaml and data/ (default: here or above)")
    parser.add_argument("--rounds", type=int, default=5, help="of both sides in turn; the medians count")
    parser.add_argument("--kimg", type=float, default=30.0, help="training of the classifier, in thousands of images")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # torchmetrics: it keeps all features; the spread over one split
    project = find_project(arguments.project)
    params = load_params(project.params_file)
    recipe = params.models[params.evaluation.classifier]
    assert isinstance(recipe, ClassificationModel)
    make_deterministic(params.threads)
    print(described(SEED))
    dataset = read_dataset(project.root, recipe.dataset)
    classifier = trained(recipe, dataset, arguments.kimg)
    real_NCHW, fake_MCHW = (torch.from_numpy(images_of(dataset, split, NUM_IMAGES)) for split in ("test", "train"))
    noise_MCHW = torch.randn(fake_MCHW.shape, generator=torch.Generator().manual_seed(SEED))
    fake_MCHW = (fake_MCHW + NOISE * noise_MCHW).clamp(0, 1)
    extractor = classifier_extractor(classifier, "speed/1", CPU)
    rounds = [
        (timed(lambda: ours(extractor, real_NCHW, fake_MCHW)), timed(lambda: theirs(classifier, real_NCHW, fake_MCHW)))
        for _ in range(arguments.rounds)
    ]
    seconds = [statistics.median(found[side][0] for found in rounds) for side in (0, 1)]
    own, other = rounds[0][0][1], rounds[0][1][1]
    single = sorted(their[0] / our[0] for our, their in rounds)
    print(
        f"ours {seconds[0]:.2f} s, torchmetrics {seconds[1]:.2f} s: {seconds[1] / seconds[0]:.2f} times as fast ",
        end="",
    )
    print(f"({single[0]:.2f} to {single[-1]:.2f} in {arguments.rounds} rounds)")
    for name, value in other.items():
        print(f"{name}: ours {own[name]:.6f}, torchmetrics {value:.6f}, differs by {abs(own[name] / value - 1):.1e}")
    interval = f"{own['kid_low']:.6f} to {own['kid_high']:.6f}"
    print(f"KID is a mean over subsets drawn at random there; our interval of it is {interval}")
    for name in ("fd_classifier", "is_classifier"):
        assert abs(own[name] / other[name] - 1) < 1e-4, name
    assert own["kid_low"] <= other["kid_classifier"] <= own["kid_high"]


if __name__ == "__main__":
    main()
