"""A warm-up that is longer than its training would never let the learning rate come near `lr`.

In a training that was cut short the recipe's warm-up is cut with it (`fitting_warmup` of
atelier.training.schedules); otherwise it is a mistake.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cache

from atelier.params.models import Params

SHORT_KIMG = 5.0  # what recipes have, those of params.yaml too: a trial of a few kimg shortens it

log = logging.getLogger("atelier")


def warmup_errors(params: Params, overrides: Sequence[str]) -> Iterator[str]:
    """One line for each warm-up that is longer than its training and can't be meant.

    One of 5 kimg at most, or in a file whose `kimg` was overridden alone, is a recipe's in a
    training that was cut short: it becomes half of the training, which is logged.
    Budgets in minutes have no length yet; once they have, the same is done.

    Args:
        params: as read.
        overrides: `dotted.key=value`, as applied to them.
    """
    keys = {override.partition("=")[0].strip() for override in overrides}
    for name, model in params.models.items():
        where = f"models.{name}.training"
        kimg = model.training.kimg
        warmup = model.training.warmup_kimg
        if kimg is None or warmup <= kimg:
            continue
        was_cut_short = f"{where}.kimg" in keys and f"{where}.warmup_kimg" not in keys
        if warmup <= SHORT_KIMG or was_cut_short:
            _say(
                f"{where}.warmup_kimg = {warmup:g} exceeds the training, kimg = {kimg:g}: "
                f"{kimg / 2:g} is taken."
            )
            continue
        yield (
            f"{where}.warmup_kimg = {warmup:g} must not be longer than the training, kimg = "
            f"{kimg:g}: the learning rate would never reach lr. Lower it, to {kimg / 2:g} or less, "
            "or raise kimg."
        )


@cache
def _say(line: str) -> None:
    """Once a process: every task of a flow reads the parameters again."""
    log.warning(line)
