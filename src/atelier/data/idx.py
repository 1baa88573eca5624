"""The IDX file format of MNIST and its relatives.

Source: "THE IDX FILE FORMAT", http://yann.lecun.com/exdb/mnist/ : two zero bytes, a type code, the number of
dimensions, then each dimension as a big-endian uint32, then the values.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atelier.errors import DataError

UNSIGNED_BYTE = 8  # the type code of uint8, the only one that picture sets use


def read_bytes(path: Path) -> bytes:
    """Contents of a file, uncompressed if its name ends in .gz.

    Raises:
        DataError: if the file can't be read, or is a damaged or truncated gzip file.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        found = f"{len(content):,} bytes"
        raise DataError(f"{path}: expected a whole gzip file, found {found}: {error}. Fetch the file again.") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.") from None


def parse_idx(content: bytes, where: str) -> NDArray[np.uint8]:
    """Array of an uncompressed IDX file of unsigned bytes, in the shape that its header gives.

    Args:
        content: the whole file.
        where: the file's name, for messages.

    Raises:
        DataError: if it is not an IDX file of unsigned bytes, or is longer or shorter than its header says.
    """
    num_dimensions = content[3] if len(content) >= 4 else 0
    header = 4 + 4 * num_dimensions
    if content[:3] != bytes([0, 0, UNSIGNED_BYTE]) or not num_dimensions or len(content) < header:
        raise DataError(f"{where}: expected an IDX file of unsigned bytes, found {content[:4].hex(' ') or 'nothing'}.")
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    expected = header + int(np.prod(shape, dtype=object))  # object: sizes of a hostile header must not wrap around
    if len(content) != expected:
        raise DataError(f"{where}: expected {expected:,} bytes for the shape {shape}, found {len(content):,}.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
