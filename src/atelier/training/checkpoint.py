"""Checkpoints with all that a training needs to go on; a kill at any moment leaves a whole one.

A checkpoint is tensors, numbers, strings and containers of them: it is loaded with
`weights_only=True`, so a file that was tampered with can't run code. The last 32 bytes of the file
are the SHA-256 of all others, because torch.load (2.13) compares none of the checksums that
torch.save writes.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from atelier.errors import TrainingError

log = logging.getLogger("atelier")
NUM_KEPT = 2  # if the newest one is damaged, the one before is used


class Checkpoints:
    """The checkpoints of one training, identified by its fingerprint; the newest two are kept.

    Args:
        folder: where they lie; made when the first one is saved.
        fingerprint: of the training; those of another one are refused.
        writable: whether `save` and `clear` do anything: of several processes of one training one
            writes.
    """

    def __init__(self, folder: Path, fingerprint: str, writable: bool = True) -> None:
        self._folder, self._fingerprint, self._writable = folder, fingerprint, writable

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint of `state["images_seen"]` in one step.

        Temporary file, fsync, rename.

        Raises:
            TrainingError: if it can't be written.
        """
        if not self._writable:
            return
        file = self._folder / f"checkpoint-{state['images_seen']:012d}.pt"
        temporary = self._folder / "checkpoint.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                hashing = _HashingWriter(stream)
                torch.save({**state, "fingerprint": self._fingerprint}, cast(BinaryIO, hashing))
                stream.write(hashing.digest())
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
            for newer in (other for other in self._newest_first() if other.name > file.name):
                # After a return to an earlier position, later ones are of another course.
                newer.unlink()
            for old in self._newest_first()[NUM_KEPT:]:
                old.unlink()
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise TrainingError(
                f"checkpoint {file} can't be written: {error}. The one before is untouched."
            ) from None

    def load(self) -> dict[str, Any] | None:
        """The newest good checkpoint, or None if there is none at all.

        Those that are refused are named in the log.

        Raises:
            TrainingError: if there are some, and each is damaged or was written by a training with
                another fingerprint.
        """
        reasons = []
        for file in self._newest_first():
            try:
                return self._read(file)
            except TrainingError as error:
                reasons.append(str(error))
                log.warning("%s The one before is tried.", error)
        if reasons:
            raise TrainingError(
                f"no checkpoint in {self._folder} can be used. Delete this folder to start "
                "again.\n  " + "\n  ".join(reasons)
            )
        return None

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            content = file.read_bytes()
            if hashlib.sha256(content[:-32]).digest() != content[-32:]:
                raise ValueError("wrong checksum")
            state: dict[str, Any] = torch.load(
                io.BytesIO(content[:-32]), map_location="cpu", weights_only=True
            )
            fingerprint = str(state["fingerprint"])
        except Exception as error:  # a damaged file fails in as many ways as it has bytes
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrainingError(f"checkpoint {file} is damaged ({reason}).") from None
        if fingerprint != self._fingerprint:
            raise TrainingError(
                f"checkpoint {file} belongs to a training with fingerprint {fingerprint[:16]}, "
                "this one is "
                f"{self._fingerprint[:16]}."
            )
        return state

    def clear(self) -> None:
        """Forget the training: its model is registered."""
        if self._writable:
            for file in self._newest_first():
                file.unlink(missing_ok=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("checkpoint-*.pt"), reverse=True)


class _HashingWriter(io.RawIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._hash = stream, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._stream.write(data)

    def digest(self) -> bytes:
        return self._hash.digest()
