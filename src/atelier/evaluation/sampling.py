"""What is done to a GAN's draws after its training: latents spread, doubtful images drawn again.

Shapes: M generated images, m of them of one class, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from atelier.evaluation.extractors import Extractor
from atelier.params import Sampling
from atelier.pictures import Floats

# Of drawing, in all: a class that a GAN draws well one time in ten is still filled.
MOST_ROUNDS = 10

Labels = NDArray[np.int64]
# (num_images, seed, label) -> (x_MCHW float32 in [0, 1], labels_M); label -1: all classes in turn.
# The labels are None if the generator can't be asked for a class.
Draw = Callable[[int, int, int], tuple[Floats, Labels | None]]
Judge = Callable[[Floats], NDArray[np.float32]]  # x_MCHW in [0, 1] -> probabilities_MK


class Drawn(NamedTuple):
    """Generated images of one subject.

    Attributes:
        x_MCHW: float32 in [0, 1].
        labels_M: the class that each was asked for as; None: the generator knows none.
        note: how they came about, for the protocol of what is measured on them; empty: by seed.
    """

    x_MCHW: Floats
    labels_M: Labels | None
    note: str = ""


@dataclass(frozen=True)
class Chosen:
    """Images that a classifier was to be sure of.

    Attributes:
        x_MCHW: float32 in [0, 1]; as many of each class as were asked for.
        labels_M: the class that each was asked for as.
        num_drawn: how many were drawn for it.
        num_accepted: how many of these the classifier was sure of.
        num_doubtful: how many of the M it isn't sure of: the best there were.
    """

    x_MCHW: Floats
    labels_M: Labels
    num_drawn: int
    num_accepted: int
    num_doubtful: int

    @property
    def text(self) -> str:
        """For people: what it took."""
        doubtful = f", {self.num_doubtful} of {len(self.labels_M)} kept below it"
        share = f"{self.num_accepted / self.num_drawn:.1%} of {self.num_drawn} drawn reached it"
        return share + (doubtful if self.num_doubtful else "")


@contextmanager
def spread_latents(generator: nn.Module, spread: float) -> Iterator[None]:
    """For a while a generator gets its latents times `spread`, whichever version it is of.

    Args:
        generator: called with latents and labels, in this order.
        spread: standard deviation of the latents; 1 as in training.

    Source: GaFi, arXiv:2305.10118, section 3.
    """

    def multiply(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (spread * given[0], *given[1:])

    handle = generator.register_forward_pre_hook(multiply)
    try:
        yield
    finally:
        handle.remove()


def choose_confident(
    draw: Draw, judge: Judge, num_images: int, seed: int, confidence: float, label: int = -1
) -> Chosen:
    """Draw the images again that a classifier doubts, class by class, in `MOST_ROUNDS` at most.

    An image that it is sure of stays in its place, so the first round is what the seed gives. Each
    later round draws as many of a class that lacks some as are asked for of it. What is still open
    at the end is filled with the images of that class that come closest.

    Args:
        draw: of a generator that can be asked for classes.
        judge: the classifier.
        num_images: M.
        seed: of the first round, and of those of all others.
        confidence: probability in (0, 1) of the class that was asked for, from which on the
            classifier counts as sure.
        label: the class; -1: all in turn.

    Source: GaFi, arXiv:2305.10118, section 3 (filtering by a classifier).
    """
    x_MCHW, labels_M = draw(num_images, seed, label)
    assert labels_M is not None  # the caller asks generators that know classes
    x_MCHW = x_MCHW.copy()
    certainty_M = _certainty(judge, x_MCHW, labels_M)
    num_drawn = num_images
    num_accepted = int((certainty_M >= confidence).sum())
    for number in range(1, MOST_ROUNDS):
        for wanted in np.unique(labels_M[~(certainty_M >= confidence)]):
            num_wanted = int((labels_M == wanted).sum())
            more_mCHW, more_m = draw(num_wanted, _seed_of(seed, number, wanted), int(wanted))
            assert more_m is not None
            more_certainty_m = _certainty(judge, more_mCHW, more_m)
            num_drawn += num_wanted
            num_accepted += int((more_certainty_m >= confidence).sum())
            open_n = np.flatnonzero((labels_M == wanted) & ~(certainty_M >= confidence))
            candidates = np.concatenate([certainty_M[open_n], more_certainty_m])
            best_n = _best_first(candidates, confidence)[: len(open_n)]
            x_MCHW[open_n] = np.concatenate([x_MCHW[open_n], more_mCHW])[best_n]
            certainty_M[open_n] = candidates[best_n]
    num_doubtful = int((~(certainty_M >= confidence)).sum())
    return Chosen(x_MCHW, labels_M, num_drawn, num_accepted, num_doubtful)


def draw_sampled(
    draw: Draw,
    generator: nn.Module,
    sampling: Sampling,
    extractor: Extractor,
    num_images: int,
    seed: int,
) -> Drawn:
    """What a GAN draws by `sampling`, with the protocol of it.

    Args:
        draw: images of the generator.
        generator: its network.
        sampling: how to draw.
        extractor: with `sampling.confidence` above 0 one that knows the classes.
        num_images: M.
        seed: of the draws.
    """
    note = f"latents * {sampling.spread:g}"
    with spread_latents(generator, sampling.spread):
        if not sampling.confidence:
            return Drawn(*draw(num_images, seed, -1), note)
        chosen = choose_confident(draw, extractor.classify, num_images, seed, sampling.confidence)
    note += (
        f", drawn again below a probability of {sampling.confidence:g} for the class by "
        f"{extractor.identity}, which favours scores on its own features: {chosen.text}"
    )
    return Drawn(chosen.x_MCHW, chosen.labels_M, note)


def _certainty(judge: Judge, x_MCHW: Floats, labels_M: Labels) -> NDArray[np.float32]:
    """The probability of the class that each image was asked for as."""
    certainty_M: NDArray[np.float32] = judge(x_MCHW)[np.arange(len(labels_M)), labels_M]
    return certainty_M


def _best_first(certainty_n: NDArray[np.float32], confidence: float) -> NDArray[np.int64]:
    """Those that are sure enough as they come, for the surest ones are no better; then the rest."""
    worth_n = np.where(certainty_n >= confidence, np.inf, certainty_n)
    return np.argsort(-worth_n, kind="stable")


def _seed_of(seed: int, number: int, label: int) -> int:
    """Of a class in a round; unlike seed + number none of another evaluation's."""
    return int(np.random.SeedSequence([seed, number, label]).generate_state(1)[0])
