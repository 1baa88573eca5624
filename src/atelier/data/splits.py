"""Which split an image belongs to.

A pure function of its content, so it never moves when data grows.
"""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = (
    "train",
    "validation",
    "test",
)  # also the order in which images are stored


def split_of(sha256_hex: str, test_fraction: float, validation_fraction: float) -> Split:
    """Assign an image to a split by its content hash alone.

    Other images and file names play no part.

    Args:
        sha256_hex: the image's content hash, at least 16 hexadecimal digits.
        test_fraction: share of all images, in [0, 1).
        validation_fraction: share of what is not test, in [0, 1).
    """
    uniform = int(sha256_hex[:16], 16) / 2**64
    if uniform < test_fraction:
        return "test"
    rest = (uniform - test_fraction) / (1 - test_fraction)
    return "validation" if rest < validation_fraction else "train"
