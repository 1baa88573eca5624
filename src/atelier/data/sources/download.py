"""Fetching an archive once over HTTPS, and trusting it by sha256 only."""

from __future__ import annotations

import hashlib
import logging
import ssl
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import URLError

from atelier.data.sources.file_sums import file_sum
from atelier.data.staging import locked, scratch_folder
from atelier.errors import DataError, RemoteError

log = logging.getLogger("atelier")

TIMEOUT = 30  # seconds without a byte
BLOCK_BYTES = 2**20


def fetch(project_root: Path, address: str, sha256: str) -> Path:
    """The file at an https address, from `.atelier/sources/` if it was fetched before.

    Raises:
        DataError: if it is not the file that `sha256` tells of.
        RemoteError: if the network, or the server, fails.
    """
    path = project_root / ".atelier" / "sources" / sha256
    # A second process waits, then finds the fetch of the first.
    with locked(project_root, f"source-{sha256}"):
        if file_sum(project_root, path) == sha256:
            return path
        log.info("fetching %s", address)
        with scratch_folder(project_root, f"fetch-{sha256}") as scratch:
            new = scratch / "fetched"
            with new.open("wb") as file:
                received = _download(address, file)
            if received != sha256:
                raise DataError(
                    f"{address}: expected the sha256 {sha256}, found {received} "
                    f"({new.stat().st_size:,} bytes). It is not the file that was meant: look at "
                    "the address, or write the new sum to datasets.NAME.sha256."
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            new.replace(path)
    return path


def _download(address: str, file: BinaryIO) -> str:
    """Copy what the server sends; its sha256."""
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
            while block := response.read(BLOCK_BYTES):
                digest.update(block)
                file.write(block)
            if response.length:  # urllib takes a broken connection for the end
                raise RemoteError(
                    f"{address}: the connection broke {response.length:,} bytes before the end. "
                    "Try again."
                )
    except (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise RemoteError(
            f"{address} can't be fetched: {error}. Look at the address and the network."
        ) from None
    return digest.hexdigest()
