"""What an objective says of a batch, or of a part of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """A loss, and what else was computed on the way to it that somebody needs afterwards.

    Attributes:
        loss: a scalar to minimise.
        kept: tensors by name, detached, with one row for each image, or for each part of a batch.
    """

    loss: Tensor
    kept: Mapping[str, Tensor] = field(default_factory=dict)


def join_kept(parts: Sequence[Outcome]) -> dict[str, Tensor]:
    """What was kept of the parts of a batch, as of the whole: rows in the order of the images."""
    if len(parts) == 1:
        return dict(parts[0].kept)
    kept = {}
    for name in parts[0].kept:
        kept[name] = torch.cat([part.kept[name] for part in parts])
    return kept
