"""Images of a split, read from memory-mapped shards only where they are indexed.

Resident memory stays bounded.

Shapes: N images, H height, W width, C channels.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.data.manifest import Manifest

# Pages of a map that were read count as memory of this process until they are given back; the
# system keeps them in its own cache, so that reading them again costs a page fault and no disk
# access (benchmarks/results/crops_2cpu_202611.md).
RESIDENT_BYTES = 64 * 2**20
# Linux maps up to so many bytes around a page that is touched (fault_around_bytes, mm/memory.c).
AROUND_BYTES = 64 * 2**10


Index = int | slice | NDArray[np.integer[Any]] | tuple[int, slice, slice]


class Shards:
    """The shards of one dataset, mapped when first read."""

    def __init__(self, locate: Callable[[str], Path]) -> None:
        self.locate = locate
        self._maps: dict[str, tuple[mmap.mmap, NDArray[np.uint8]]] = {}
        self._touched = 0

    def bytes_of(self, name: str) -> NDArray[np.uint8]:
        """All bytes of a shard, as a read-only view of its map."""
        if name not in self._maps:
            with self.locate(name).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[name] = mapped, np.frombuffer(mapped, np.uint8)
        return self._maps[name][1]

    def count(self, num_bytes: int, num_places: int) -> None:
        """Note that so many bytes are being read at so many places.

        Give pages back when there are too many.

        Views stay valid: a page that was given back comes again when it is touched. What is small
        keeps them all.
        """
        self._touched += num_bytes + num_places * AROUND_BYTES
        if self._touched <= RESIDENT_BYTES:
            return
        self._touched = 0
        too_many = sum(view.nbytes for _, view in self._maps.values()) > RESIDENT_BYTES
        if too_many and hasattr(mmap, "MADV_DONTNEED"):
            for mapped, _ in self._maps.values():
                mapped.madvise(mmap.MADV_DONTNEED)


class Images:
    """The images of one split, in the order of the manifest."""

    def __init__(
        self, rows: Manifest, shards: Shards, image_size: int | None, channels: int
    ) -> None:
        self._rows, self._shards = rows, shards
        self._shard_names, self._shard_N = np.unique(
            np.array(rows.shards, dtype=np.str_), return_inverse=True
        )
        self._image_size, self.channels = image_size, channels

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """NHWC, where all images have one size.

        Raises:
            ValueError: if every image keeps its own size.
        """
        if self._image_size is None:
            raise ValueError("these images differ in size: read them one at a time, or as crops")
        return (len(self), self._image_size, self._image_size, self.channels)

    @property
    def sizes_N2(self) -> NDArray[np.int64]:
        """Height and width of each image."""
        return np.stack([self._rows.heights, self._rows.widths], axis=1)

    def __getitem__(
        self, index: int | slice | NDArray[np.integer[Any]] | tuple[int, slice, slice]
    ) -> NDArray[np.uint8]:
        """Images as an array of all of them would give them, uint8 in [0, 255].

        Args:
            index: an integer gives HWC; a slice or an array of integers NHWC; (image, rows,
                columns), rows and columns as slices without a step, gives HWC of a crop. One image
                and a crop are views of the map: what is not used of them is not read.

        Raises:
            ValueError: if several are asked for, and they differ in size.
        """
        if isinstance(index, tuple):
            image, rows, columns = index
            return self._view(int(image), rows.start, rows.stop)[:, columns]
        if isinstance(index, (int, np.integer)):
            return self._view(int(index), 0, int(self._rows.heights[index]))
        image_bytes = int(np.prod(self.shape[1:]))
        shards, places = self._shard_N[index], self._rows.offsets[index] // image_bytes
        images = np.empty((*places.shape, *self.shape[1:]), np.uint8)
        for shard in np.unique(shards):
            here = shards == shard
            part = self._shards.bytes_of(str(self._shard_names[shard]))
            images[here] = part.reshape(-1, *self.shape[1:])[places[here]]
        self._shards.count(images.nbytes, 1 if isinstance(index, slice) else len(places))
        return images

    def _view(self, image: int, top: int, bottom: int) -> NDArray[np.uint8]:
        """Rows `top` to `bottom` of an image, HWC."""
        row_bytes = int(self._rows.widths[image]) * self.channels
        start = int(self._rows.offsets[image]) + top * row_bytes
        stop = start + (bottom - top) * row_bytes
        self._shards.count(stop - start, 1)
        return self._shards.bytes_of(self._rows.shards[image])[start:stop].reshape(
            bottom - top, -1, self.channels
        )
