"""The IDX file format of MNIST and its relatives.

Source: "THE IDX FILE FORMAT", http://yann.lecun.com/exdb/mnist/ : two zero bytes, a type code, the
number of dimensions, then each dimension as a big-endian uint32, then the values.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from atelier.errors import DataError

UNSIGNED_BYTE = 8  # the type code of uint8, the only one that picture sets use
# Of a file that is taken into memory whole; Fashion-MNIST's largest has 47 million.
MAX_BYTES = 2**30


@contextmanager
def open_plain(path: Path) -> Iterator[IO[bytes]]:
    """A file to read from, uncompressed if its name ends in .gz.

    Raises:
        DataError: if the file can't be read, or turns out to be a damaged or truncated gzip file.
    """
    try:
        file = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
        with file:
            yield cast(IO[bytes], file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        size = f"{path.stat().st_size:,} bytes"
        raise DataError(
            f"{path}: expected a whole gzip file, found {size}: {error}. Fetch the file again."
        ) from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.") from None


def read_bytes(path: Path) -> bytes:
    """Contents of a file, uncompressed if its name ends in .gz.

    Raises:
        DataError: if the file can't be read, is larger than MAX_BYTES, or is a damaged or truncated
            gzip file.
    """
    with open_plain(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(
            f"{path}: expected at most {MAX_BYTES:,} bytes, found more. "
            "This is no file of that kind."
        )
    return content


def read_shape(file: IO[bytes], where: str) -> tuple[int, ...]:
    """Read the header of an IDX file of unsigned bytes.

    Args:
        file: at its start; afterwards, at the first value.
        where: the file's name, for messages.

    Raises:
        DataError: if it is no such file.
    """
    start = file.read(4)
    num_dimensions = start[3] if len(start) == 4 else 0
    sizes = file.read(4 * num_dimensions)
    has_magic = start[:3] == bytes([0, 0, UNSIGNED_BYTE])
    if not has_magic or not num_dimensions or len(sizes) < 4 * num_dimensions:
        raise DataError(
            f"{where}: expected an IDX file of unsigned bytes, found {start.hex(' ') or 'nothing'}."
        )
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def parse_idx(content: bytes, where: str) -> NDArray[np.uint8]:
    """Array of an uncompressed IDX file of unsigned bytes, in the shape that its header gives.

    Args:
        content: the whole file.
        where: the file's name, for messages.

    Raises:
        DataError: if it is not an IDX file of unsigned bytes, or is longer or shorter than its
            header says.
    """
    shape = read_shape(io.BytesIO(content), where)
    header = 4 + 4 * len(shape)
    # object: sizes of a hostile header must not wrap around.
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DataError(
            f"{where}: expected {expected:,} bytes for the shape {shape}, found {len(content):,}."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
