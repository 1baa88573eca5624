"""The classes of a GAN, as people ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atelier.errors import UsageError


def class_names_of(config: Mapping[str, Any]) -> list[str]:
    """Names of the classes that a bundle's GAN draws; empty: it knows none."""
    names: list[str] = config["class_names"]
    # Unconditional GANs that were registered before kept the names of their dataset.
    return names if len(names) == config["network"]["num_classes"] else []


def class_number(wanted: str | None, class_names: Sequence[str]) -> int:
    """Number of a class asked for by name or, where none is called so, by number; None, all: -1.

    Raises:
        UsageError: naming the classes.
    """
    if wanted is None:
        return -1
    if wanted in class_names:
        return class_names.index(wanted)
    by_name = {str(number): number for number in range(len(class_names))}
    by_name |= {name.lower(): number for number, name in enumerate(class_names)}
    if wanted.lower() not in by_name:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(class_names)) or "none"
        raise UsageError(f"{wanted!r} is not a class of this model; its classes: {names}.")
    return by_name[wanted.lower()]
