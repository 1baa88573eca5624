"""The registered model: MLflow loads this file ("models from code"), the weights lie beside it as safetensors.

The file imports nothing of Atelier. The network's own source is stored with its weights and loaded by path under a name
of its own, so versions from different times work side by side in one process.

Contract: float32 NCHW, images in [0, 1]; outputs are clipped to [0, 1].
Shapes: N images, C channels, H height, W width, K classes, Z latent.
"""

from __future__ import annotations

import importlib.util
import json
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel
from safetensors.torch import load_file

BATCH = 256  # images in one pass: bounds memory, does not change the result


class ServedModel(PythonModel):  # type: ignore[misc]
    """One registered version of any kind; `bundle` holds config.json, network.py and weights.safetensors.

    That of a GAN may hold a restorer as well, in refiner.py and refiner.safetensors, which all its images pass through.
    """

    config: dict[str, Any]
    network: torch.nn.Module
    refiner: torch.nn.Module | None
    # The signature checks the input. Without this MLflow 3.17 warns at every load that `predict` has no type hints.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Rebuild the network from its stored source and load its weights."""
        bundle = Path(context.artifacts["bundle"])
        self.config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        self.network = _load_network(self.config, bundle / "network.py", bundle / "weights.safetensors")
        refiner = self.config.get("refiner")
        files = bundle / "refiner.py", bundle / "refiner.safetensors"
        self.refiner = _load_network(refiner, *files) if refiner else None

    # No type hints here: MLflow would read them as the schema, and warns of those it doesn't know.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Restored images, class probabilities, or generated images, by kind.

        Args:
            context: MLflow's, unused.
            model_input: restoration and classification: float32 NCHW in [0, 1]; gan: a table with any of the columns
                `num_images`, `seed`, `class` (class -1: all classes in turn), one request a row; where a restorer is
                stored with it also `refined` (1 unless it is 0).
            params: gan: the same, for all rows without that column; crnn: `iterations`, 0 for the trained number;
                restorers with `noise_level`: `sigma`, the standard deviation of the noise of all these images in units
                of their range, below 0 (the default) to estimate it from each.

        Returns:
            float32: x_hat_NCHW in [0, 1], probabilities_NK, or x_NCHW in [0, 1].
        """
        params = params or {}
        with torch.inference_mode():
            if self.config["kind"] == "gan":
                return self._generate(model_input, params)
            x_NCHW = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
            return np.concatenate([self._answer(part, params) for part in torch.split(x_NCHW, BATCH)])

    def _answer(self, x_NCHW: torch.Tensor, params: dict[str, Any]) -> np.ndarray:
        device = next(self.network.parameters()).device
        x_NCHW = x_NCHW.to(device)
        if self.config["kind"] == "classification":
            return np.asarray(self.network(x_NCHW).softmax(dim=1).cpu())
        iterations = int(params.get("iterations", 0))
        if iterations < 0:
            raise ValueError(f"iterations = {iterations} must be at least 1, or 0 for the number it was trained with.")
        arguments: dict[str, Any] = {"iterations": iterations} if iterations else {}
        sigma = float(params.get("sigma", -1))
        if not sigma <= 1:
            raise ValueError(
                f"sigma = {sigma} must be at most 1: it is in units of the image range, 25 of 255 is 0.098."
            )
        if sigma >= 0:
            arguments["sigma"] = sigma
        return np.asarray(self.network(x_NCHW, **arguments).clamp(0, 1).cpu())

    def _generate(self, requests: pd.DataFrame, params: dict[str, Any]) -> np.ndarray:
        rows: list[dict[str, Any]] = [dict(row) for _, row in requests.iterrows()] or [{}]
        return np.concatenate([self._generate_one({**params, **row}) for row in rows])

    def _generate_one(self, request: dict[str, Any]) -> np.ndarray:
        num_images, seed, wanted = (int(request.get(key, -1)) for key in ("num_images", "seed", "class"))
        num_classes, latent_dim = self.config["network"]["num_classes"], self.config["network"]["latent_dim"]
        if num_images < 1 or seed < 0 or not -1 <= wanted < num_classes:
            raise ValueError(
                f"num_images = {num_images} must be at least 1, seed = {seed} at least 0, and class = {wanted} between "
                f"0 and {num_classes - 1}, or -1 for all classes in turn."
            )
        refiner = self.refiner if int(request.get("refined", 1)) else None
        device = next(self.network.parameters()).device
        z_NZ = torch.randn(num_images, latent_dim, generator=torch.Generator().manual_seed(seed)).to(device)
        labels_N = torch.arange(num_images) % num_classes if wanted < 0 else torch.full((num_images,), wanted)
        parts = zip(torch.split(z_NZ, BATCH), torch.split(labels_N.to(device), BATCH), strict=True)
        images = [(self.network(*part) * 0.5 + 0.5).clamp(0, 1) for part in parts]
        return np.concatenate([np.asarray((refiner(x).clamp(0, 1) if refiner else x).cpu()) for x in images])


def _load_network(config: dict[str, Any], source: Path, weights: Path) -> torch.nn.Module:
    builder = getattr(_load_source(source), config["builder"])
    network: torch.nn.Module = builder(**{key: value for key, value in config["network"].items() if key != "name"})
    network.load_state_dict(load_file(weights))
    return network.eval().requires_grad_(False)


def _load_source(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"atelier_network_{uuid.uuid4().hex}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mlflow.models.set_model(ServedModel())
