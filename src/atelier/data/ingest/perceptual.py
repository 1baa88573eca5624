"""What a picture looks like, in a few bytes.

A perceptual hash finds candidates, a thumbnail confirms them.
All sums are sums of integers that floats hold exactly: no rounding differs between machines.
Where the numbers come from: docs/decisions/0007, benchmarks/near_duplicates.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Pixels, and 8 x 8 frequencies of them: Zauner 2010, section 3.2.1; https://www.phash.org.
HASH_SIDE = 32
LOW = 8
SIDE = 16  # of a thumbnail; finer detail is what compression changes first
AREA = SIDE * SIDE
CELL = 4  # pixels of the 32 x 32 luma: its 8 x 8 cells tell how much of the picture has detail
DETAIL_STD = 4.0  # grey levels; a cell with less is plain: sky, or the background of a product
# Share of cells with detail -> the correlation that makes two pictures the same. Garments of one
# cut on a plain background correlate by their outlines, photographs full of detail only where they
# are copies.
REQUIRED = ((0.95, 0.95), (0.9, 0.985), (0.8, 0.998), (0.0, 0.9995))
# Grey levels, root mean square: this close are only copies, also of pictures without much detail.
DIFFERENCE = 2.0
DISTANCE = 8  # bits by which the hashes of candidates may differ

# The cosines of the DCT-II as integers: 8 + 2 * (12 + 5) bits stay below the 53 that a float64
# holds.
_COSINES = np.round(
    4096 * np.cos(np.pi / 64 * np.outer(np.arange(LOW), 2 * np.arange(HASH_SIDE) + 1))
)


def small_luma(pixels_HWC: NDArray[np.uint8]) -> Image.Image:
    """The picture as 32 x 32 grey pixels, antialiased; its proportions are lost."""
    is_grey = pixels_HWC.shape[-1] == 1
    image = Image.fromarray(pixels_HWC[..., 0] if is_grey else pixels_HWC).convert("L")
    return image.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)


def perceptual_hash(pixels_HWC: NDArray[np.uint8]) -> int:
    """64 bits that change little when a picture is scaled, compressed or made brighter (pHash).

    Args:
        pixels_HWC: uint8, one or three channels.

    Returns:
        In [0, 2**64): which of the 8 x 8 lowest frequencies of the luma lie above their median
        (without the mean's).

    Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions",
    3.2.1.
    """
    luma = np.asarray(small_luma(pixels_HWC), np.float64)
    low = (_COSINES @ luma @ _COSINES.T).ravel()
    median = np.sort(low[1:])[LOW * LOW // 2 - 1]
    return int.from_bytes(np.packbits(low > median).tobytes(), "big")


def within(hashes_N: NDArray[np.uint64], phash: int, distance: int = DISTANCE) -> NDArray[np.intp]:
    """Positions of the hashes that differ from `phash` in at most `distance` bits, ascending."""
    return np.flatnonzero(np.bitwise_count(hashes_N ^ np.uint64(phash)) <= distance)


class Thumbnails:
    """Thumbnails of N pictures, each made when it is first asked for; 512 bytes a picture."""

    def __init__(self, num_pictures: int, pixels: Callable[[int], NDArray[np.uint8]]) -> None:
        """Nothing is read yet.

        Args:
            num_pictures: N.
            pixels: the uint8 HWC pixels of a picture, by its number.
        """
        self._pixels = pixels
        # Memory is taken only where it is written to.
        self._sums_NA = np.empty((num_pictures, AREA), np.uint16)
        # By a picture's own detail; NaN: not made yet.
        self._required_N = np.full(num_pictures, np.nan)

    def same(self, picture: int, others_M: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the others show the same picture.

        It may be scaled, compressed, or of another brightness or contrast.
        Of two pictures the one with less detail decides how much correlation that takes.
        Pictures that hardly differ in any pixel are the same without it.
        """
        numbers = np.append(others_M, picture)
        for number in numbers[np.isnan(self._required_N[numbers])]:
            self._make(int(number))
        one_A = self._sums_NA[picture].astype(np.float64)
        others_MA = self._sums_NA[others_M].astype(np.float64)
        total = one_A.sum()
        totals_M = others_MA.sum(axis=1)
        variance = AREA * (one_A @ one_A) - total**2
        variances_M = AREA * np.einsum("ma,ma->m", others_MA, others_MA) - totals_M**2
        covariances_M = AREA * (others_MA @ one_A) - total * totals_M
        required_M = np.maximum(self._required_N[picture], self._required_N[others_M])
        # Not divided by the variances: a thumbnail of one colour has none, and is the same as
        # nothing.
        deviations_M = np.sqrt(variance * variances_M)
        squares_M = np.square(others_MA - one_A).sum(axis=1)
        # A sum is of four pixels.
        close_M = (squares_M <= AREA * (4 * DIFFERENCE) ** 2) & (deviations_M > 0)
        return np.asarray((covariances_M > required_M * deviations_M) | close_M)

    def _make(self, number: int) -> None:
        luma = np.asarray(small_luma(self._pixels(number)), np.float64)
        cells = luma.reshape(HASH_SIDE // CELL, CELL, HASH_SIDE // CELL, CELL)
        squares = np.einsum("iajb,iajb->ij", cells, cells)
        totals = np.einsum("iajb->ij", cells)
        is_detailed = CELL**2 * squares - totals**2 >= (CELL**2 * DETAIL_STD) ** 2
        detail = float(is_detailed.mean())
        self._required_N[number] = next(required for share, required in REQUIRED if detail >= share)
        # Sums of 2 x 2 pixels: a mean rounded to 8 bits would hide what a picture of low contrast
        # shows.
        self._sums_NA[number] = luma.reshape(SIDE, 2, SIDE, 2).sum(axis=(1, 3)).ravel()
