"""Features of a dataset's own images, computed once for each extractor and kept in files.

Shapes: N images, D features.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from atelier.data.splits import Split
from atelier.data.store import StoredDataset
from atelier.evaluation.extractors import Extractor
from atelier.pictures import Floats
from atelier.training.pixels import to_images


def real_features(
    extractor: Extractor, dataset: StoredDataset, split: Split, count: int, folder: Path | None
) -> Floats:
    """features_ND of the first `count` images of a split, N <= count, read a batch at a time.

    Args:
        extractor: what takes them.
        dataset: whose images.
        split: which of them.
        count: how many, at most.
        folder: where they are kept; None: nowhere. A file there that is damaged, or can't be
            written, costs only time.
    """
    images = dataset.images(split)
    count = min(count, len(images))
    file = None
    if folder is not None:
        key = [dataset.digest, split, count, extractor.identity, extractor.device.type]
        file = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.features"
        if (kept := _read(file)) is not None:
            return kept
    assert dataset.info.image_size is not None  # params.checks
    step = extractor.in_a_pass(dataset.info.image_size, dataset.info.image_size)
    parts = [
        extractor.of(to_images(images[start : min(start + step, count)], torch.device("cpu")))
        for start in range(0, count, step)
    ]
    features_ND = np.concatenate(parts)
    if file is not None:
        _write(file, features_ND)
    return features_ND


def _read(file: Path) -> Floats | None:
    """None if there is no such file, or it isn't whole.

    Its first 32 bytes are the sha256 of the others.
    """
    try:
        with file.open("rb") as stream:
            expected = stream.read(32)
            if hashlib.file_digest(stream, "sha256").digest() != expected:
                return None
            stream.seek(32)
            features_ND: Floats = np.load(stream, allow_pickle=False)
    except (OSError, ValueError):
        return None
    return features_ND


def _write(file: Path, features_ND: Floats) -> None:
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with new.open("w+b") as stream:
            stream.write(bytes(32))
            np.save(stream, features_ND, allow_pickle=False)
            stream.seek(32)
            checksum = hashlib.file_digest(stream, "sha256").digest()
            stream.seek(0)
            stream.write(checksum)
        new.replace(file)
    except OSError:  # a full disk, or a project that may only be read
        with suppress(OSError):
            new.unlink()
