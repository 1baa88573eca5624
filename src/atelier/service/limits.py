"""What is refused beyond; apart, so that the command shows the values without loading the rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is refused beyond.

    Attributes:
        max_pixels: of a picture.
        max_bytes: of a request.
        waiting: pictures that may wait for the networks.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 100_000_000
    waiting: int = 64
