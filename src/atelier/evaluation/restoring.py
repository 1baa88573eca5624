"""Test images, degraded and restored a few at a time, so that none of their pixels are kept.

Shapes: n test images of one size, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from atelier.data.store import StoredDataset
from atelier.degradations import Steps, noise_levels
from atelier.degradations.levels import levels_of
from atelier.evaluation.common import Protocol
from atelier.evaluation.degraded import degraded_images
from atelier.metrics.baselines import baselines_for
from atelier.pictures import Floats


@dataclass(frozen=True)
class Restored:
    """Some neighbouring test images of one size, and what was made of them.

    Float32 nCHW in [0, 1].

    Attributes:
        first: position of the first of them in the test split.
        clean: as they are stored.
        levels: in which part of its range each is degraded; empty if there is no range.
        guesses: of each baseline, and of the model that this one is compared with.
        estimates: of the model, after each of its iterations if it is recurrent; the last is its
            result.
    """

    first: int
    clean: Floats
    levels: list[int]
    guesses: dict[str, Floats]
    estimates: list[Floats]


def restore_test_images(
    network: Any,
    compared: Mapping[str, Any],
    steps: Steps,
    dataset: StoredDataset,
    protocol: Protocol,
) -> Iterator[Restored]:
    """All test images that are scored, a few at a time, degraded and restored."""
    baselines = baselines_for(steps)
    levels = levels_of(steps)
    for part in degraded_images(dataset, steps, protocol):
        guesses = {
            f"baseline:{name}": guess(part.y_nChw, part.hidden_n1hw).numpy()
            for name, guess in baselines.items()
        }
        told = partial(noise_levels, part.clean_nCHW.shape, steps, part.seeds)
        y_nChw = part.y_nChw.to(protocol.device)
        guesses |= {
            f"compared:{version}": _estimates(other, y_nChw, told)[-1]
            for version, other in compared.items()
        }
        parts_n: list[int] = []
        if levels is not None:
            parts_n = levels.parts_B(part.clean_nCHW.shape, steps, part.seeds).tolist()
        estimates = _estimates(network, y_nChw, told)
        yield Restored(part.first, part.clean_nCHW.numpy(), parts_n, guesses, estimates)


@torch.inference_mode()
def _estimates(network: Any, y_nCHW: Tensor, levels: Callable[[], Tensor]) -> list[Floats]:
    """What a restorer makes of images, after each of its iterations if it is recurrent."""
    told = {}
    if getattr(network, "noise_level", False):  # versions of before have no such input
        told = {"sigma": levels().to(y_nCHW.device)}
    estimates = (
        network.estimates(y_nCHW, **told)
        if hasattr(network, "iterations")
        else [network(y_nCHW, **told)]
    )
    return [x_hat_nCHW.cpu().numpy().clip(0, 1) for x_hat_nCHW in estimates]
