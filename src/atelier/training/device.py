"""Choose the device and fix what makes two runs on it equal."""

from __future__ import annotations

import os
from typing import Literal

import torch

from atelier.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Asking for CUDA without CUDA is an error, never a fallback.

    Raises:
        ConfigError: if the device isn't there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(
                f"params.yaml: device = {name!r}, but torch {torch.__version__} sees {count} CUDA "
                "devices here. "
                "Use device: cpu or auto, or install a CUDA build of torch."
            )
    return device


def make_deterministic(threads: Literal["auto"] | int, processes: int = 1) -> int:
    """Fix the thread count (1 and 2 threads round differently) and deterministic kernels.

    Returns the count.

    Args:
        threads: of all processes together; auto: one for each core.
        processes: that train together on this machine.
    """
    count = max(1, ((os.cpu_count() or 1) if threads == "auto" else threads) // processes)
    torch.set_num_threads(count)
    # cuBLAS needs it for deterministic matmuls.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Otherwise deterministic mode fills every new tensor with NaN, a debugging aid that costs a
    # tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined,unused-ignore]
    return count
