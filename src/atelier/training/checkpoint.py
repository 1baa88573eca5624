"""Checkpoints that hold everything a training needs to go on, written so that a kill at any moment leaves a whole one.

A checkpoint is tensors, numbers, strings and containers of them: it is loaded with `weights_only=True`, so a file that
was tampered with can't run code.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from atelier.errors import TrainingError


class Checkpoints:
    """The checkpoints of one training, identified by its fingerprint."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._file = folder / "checkpoint.pt"
        self._fingerprint = fingerprint

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint in one step: temporary file, fsync, rename."""
        temporary = self._file.with_suffix(".tmp")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                torch.save({**state, "fingerprint": self._fingerprint}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._file)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise TrainingError(
                f"checkpoint {self._file} can't be written: {error}. The one before is untouched."
            ) from None

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None if there is none.

        Raises:
            TrainingError: if it is damaged, or was written by a training with another fingerprint.
        """
        try:
            # torch.save writes checksums, torch.load (2.13) doesn't compare them.
            with zipfile.ZipFile(self._file) as archive:
                if (broken := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"wrong checksum of {broken}")
            state: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
            fingerprint = str(state["fingerprint"])
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged file fails in as many ways as it has bytes
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrainingError(f"checkpoint {self._file} is damaged ({reason}). Delete it to start again.") from None
        if fingerprint != self._fingerprint:
            raise TrainingError(
                f"checkpoint {self._file} belongs to a training with fingerprint {fingerprint[:16]}, this one "
                f"is {self._fingerprint[:16]}. Delete it to start again."
            )
        return state

    def clear(self) -> None:
        """Forget the training: its model is registered."""
        self._file.unlink(missing_ok=True)
