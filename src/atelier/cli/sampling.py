"""How `atelier generate` draws: as asked, with latents spread, or what a classifier is sure of.

Shapes: N images, S requests, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atelier.cli.options import load_served
from atelier.errors import UsageError
from atelier.serving.classes import class_names_of

if TYPE_CHECKING:
    import numpy as np

    from atelier.evaluation.sampling import Judge, Labels
    from atelier.pictures import Floats
    from atelier.registry import Registry, Version

Spread = Annotated[
    float | None,
    typer.Option(
        help="Multiply latents by this: above 1 more varied, below 1 more typical.  [default: 1]",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        help="Draw images again whose class --judge gives a smaller probability, between 0 and 1.  "
        "[default: none is drawn again]",
    ),
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="CLASSIFIER",
        help="Of --confidence: a classifier of the same classes, size and channels.",
    ),
]


@dataclass(frozen=True)
class Wish:
    """How to draw.

    Attributes:
        spread: factor of the latents.
        confidence: that the judge has to reach.
        judge: the classifier as it was named; empty: no image is drawn again.
    """

    spread: float
    confidence: float
    judge: str


@dataclass(frozen=True)
class Gan:
    """A registered GAN: its version, its pyfunc, its configuration."""

    version: Version
    served: Any
    config: Mapping[str, Any]


def read_wish(
    spread: float | None, confidence: float | None, judge: str | None, on_the_way: bool
) -> Wish:
    """The options as one wish.

    Args:
        spread: of `--spread`.
        confidence: of `--confidence`.
        judge: of `--judge`.
        on_the_way: whether images from seed to seed are asked for.

    Raises:
        UsageError: if they make no sense.
    """
    # pydantic stands behind it, which would double the time that every command takes to start.
    from atelier.params.evaluation import MOST_SPREAD

    if spread is not None and not 0 < spread <= MOST_SPREAD:
        raise UsageError(
            f"--spread {spread:g} must be above 0 and at most {MOST_SPREAD:g}. "
            "For latents as they are, leave it out."
        )
    if confidence is not None and not 0 < confidence < 1:
        raise UsageError(
            f"--confidence {confidence:g} must be above 0 and below 1. To keep every image, leave "
            "it out."
        )
    if (confidence is None) != (judge is None):
        raise UsageError("--confidence is a classifier's, that of --judge. Give both, or none.")
    if judge is not None and on_the_way:
        raise UsageError(
            "--interpolate shows the way between two images; with --confidence one of them might "
            "be drawn again. Leave one out."
        )
    return Wish(spread or 1.0, confidence or 0.0, judge or "")


def draw_images(
    registry: Registry, gan: Gan, requests: list[dict[str, float]], wish: Wish
) -> tuple[Floats, str]:
    """Images in [0, 1], x_NCHW, and what is to be told of them.

    Of each index those of all requests, then those of the next.

    Args:
        registry: that holds the judge.
        gan: what draws.
        requests: as many images in each; one alone where there is a judge.
        wish: how to draw.

    Raises:
        UsageError: if this GAN can't be drawn from so, or the judge is of other images.
    """
    from atelier.evaluation.sampling import choose_confident, spread_latents

    if wish.spread != 1 and gan.config["network"]["name"] == "progressive":
        raise UsageError(
            f"{gan.version} divides latents by their length, so --spread has no effect. Leave it "
            "out."
        )
    with spread_latents(gan.served.unwrap_python_model().network, wish.spread):
        if not wish.judge:
            return _draw_in_rows(gan, requests), ""
        judge_version, judge = _open_judge(registry, wish.judge, gan)
        request = requests[0]

        def draw(num_images: int, seed: int, label: int) -> tuple[Floats, Labels | None]:
            row = {**request, "num_images": num_images, "seed": seed, "class": label}
            return _predict(gan, [row]), _labels(gan, num_images, label)

        count = int(request["num_images"])
        seed = int(request["seed"])
        label = int(request["class"])
        chosen = choose_confident(draw, judge, count, seed, wish.confidence, label)
    return chosen.x_MCHW, f", chosen by {judge_version}: {chosen.text}"


def _open_judge(registry: Registry, name: str, gan: Gan) -> tuple[Version, Judge]:
    """A classifier of the same images and classes."""
    version, served, config = load_served(registry, name, "classification")
    names = class_names_of(gan.config)
    if gan.config["network"]["num_classes"] == 1:
        raise UsageError(
            f"{gan.version} can't be asked for a class, so --confidence has nothing to judge. "
            "Leave it and --judge out."
        )
    for key, own, theirs in (
        ("channels", gan.config["channels"], config["channels"]),
        ("pixels a side", gan.config["image_size"], config["image_size"]),
        ("classes", ", ".join(names), ", ".join(config["class_names"])),
    ):
        if own != theirs:
            raise UsageError(
                f"--judge {version} does not fit {gan.version}: {key} {theirs} instead of {own}. "
                "Name a classifier of the dataset that the GAN learnt."
            )

    def judge(x_NCHW: Floats) -> np.ndarray[Any, np.dtype[np.float32]]:
        probabilities_NK: np.ndarray[Any, np.dtype[np.float32]] = served.predict(x_NCHW)
        return probabilities_NK

    return version, judge


def _labels(gan: Gan, num_images: int, label: int) -> Labels:
    """The classes that a GAN draws for a request; label -1: all in turn."""
    import numpy as np

    if label >= 0:
        return np.full(num_images, label, np.int64)
    return np.arange(num_images, dtype=np.int64) % int(gan.config["network"]["num_classes"])


def _draw_in_rows(gan: Gan, requests: list[dict[str, float]]) -> Floats:
    x_NCHW = _predict(gan, requests)
    x_SNCHW = x_NCHW.reshape(len(requests), -1, *x_NCHW.shape[1:])
    in_rows: Floats = x_SNCHW.swapaxes(0, 1).reshape(x_NCHW.shape)
    return in_rows


def _predict(gan: Gan, requests: list[dict[str, float]]) -> Floats:
    import numpy as np
    import pandas as pd

    x_NCHW: Floats = np.asarray(gan.served.predict(pd.DataFrame(requests)))
    return x_NCHW
