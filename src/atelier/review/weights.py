"""Two bundles of weights, compared bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def compare_weights(stored: Path, again: Path) -> dict[str, Any]:
    """Two bundles, tensor by tensor.

    Args:
        stored: folder with safetensors files.
        again: the same, of the other one.

    Returns:
        `identical` (all files, names, shapes, types and bits), `tensors`, `differing` (their
        names), and `max_abs_difference` of the values that can be compared.
    """
    tensors_before = _load_tensors(stored)
    tensors_after = _load_tensors(again)
    differing = []
    largest = 0.0
    for key in sorted(tensors_before.keys() | tensors_after.keys()):
        before: Any = tensors_before.get(key)
        after: Any = tensors_after.get(key)
        if not _have_same_form(before, after):
            differing.append(f"{key} (in one of them only, or of another shape or type)")
        elif _bits(before) != _bits(after):
            differing.append(key)
            largest = max(largest, float((before.double() - after.double()).abs().max()))
    has_files = any([*stored.glob("*.safetensors"), *again.glob("*.safetensors")])
    return {
        "identical": has_files and not differing,
        "tensors": len(tensors_before),
        "differing": differing,
        "max_abs_difference": largest,
    }


def _load_tensors(folder: Path) -> dict[str, Any]:
    """All tensors of a bundle by file and name."""
    from safetensors.torch import load_file

    tensors = {}
    for file in folder.glob("*.safetensors"):
        for key, tensor in load_file(file).items():
            tensors[f"{file.name}: {key}"] = tensor
    return tensors


def _have_same_form(before: Any, after: Any) -> bool:
    if before is None or after is None:
        return False
    return bool(before.shape == after.shape and before.dtype == after.dtype)


def _bits(tensor: Any) -> bytes:
    """Compared instead of the values, of which -0 equals 0, and a NaN not even itself."""
    import torch

    content: bytes = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()  # numpy has no bfloat16
    return content
