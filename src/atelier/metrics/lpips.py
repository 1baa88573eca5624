"""LPIPS, the distance of images in a network's features, by weights in a TorchScript file.

Shape suffixes: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from atelier.errors import EvaluationError


@dataclass(frozen=True)
class Lpips:
    """A network of LPIPS.

    Attributes:
        network: of two batches of images, float32 NCHW with 3 channels in [-1, 1]; N distances in
            any shape.
        sha256: of its file: numbers of other weights can't be compared.
        device: where it computes.

    Source: Zhang et al. 2018, arXiv:1801.03924.
    """

    network: torch.jit.ScriptModule
    sha256: str
    device: torch.device

    @property
    def text(self) -> str:
        """The protocol of its numbers."""
        return (
            f"LPIPS per image, weights of sha256 {self.sha256[:12]}, grey repeated in three "
            "channels"
        )

    @torch.inference_mode()
    def distance_N(
        self, a_NCHW: NDArray[np.float64], b_NCHW: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The distance of every pair of images.

        Args:
            a_NCHW: images in [0, 1] of 1 or 3 channels.
            b_NCHW: images of the same shape.

        Returns:
            lpips_N: 0 for equal images.

        Raises:
            EvaluationError: if the network can't measure images of this size, or does not give N
                finite numbers.
        """
        given = [
            torch.from_numpy(x.astype(np.float32) * 2 - 1).to(self.device) for x in (a_NCHW, b_NCHW)
        ]
        num_images, _, height, width = a_NCHW.shape
        try:
            found = self.network(*(x.expand(-1, 3, -1, -1) for x in given))
        except RuntimeError as error:  # of TorchScript, whatever happens within
            raise EvaluationError(
                f"evaluation.lpips: the network can't measure images of {height}x{width} pixels: "
                f"{str(error).strip().splitlines()[-1]} Give the weights of another one, or remove "
                "evaluation.lpips."
            ) from None
        lpips_N = np.asarray(found.double().cpu().numpy()).reshape(-1)
        if len(lpips_N) != num_images or not np.isfinite(lpips_N).all():
            raise EvaluationError(
                f"evaluation.lpips: of {num_images} pairs of images the network made "
                f"{len(lpips_N)} numbers, "
                f"{np.count_nonzero(~np.isfinite(lpips_N))} of them not finite. It has to give one "
                "distance a pair."
            )
        return lpips_N


def load_lpips(path: Path, sha256: str, device: torch.device) -> Lpips:
    """Load weights. TorchScript is a program: only the file that was meant is run.

    Args:
        path: a file that `torch.jit.save` wrote.
        sha256: of the file.
        device: where to compute.

    Raises:
        EvaluationError: if the file can't be read, is another one, or is no TorchScript.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EvaluationError(
            f"evaluation.lpips.path = {str(path)!r} can't be read: {error.strerror}. Put the file "
            "there, or remove "
            "evaluation.lpips."
        ) from None
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise EvaluationError(
            f"evaluation.lpips.path = {str(path)!r} has the sha256 {found}, not {sha256}. Put back "
            "the file that was "
            "meant, or correct evaluation.lpips.sha256."
        )
    try:
        load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
        network = load(io.BytesIO(data), map_location=device)
    except RuntimeError:
        raise EvaluationError(
            f"evaluation.lpips.path = {str(path)!r} is no TorchScript file. Write it with "
            "torch.jit.save: a module of "
            "two NCHW images in [-1, 1] that returns N distances."
        ) from None
    return Lpips(network.eval(), sha256, device)
