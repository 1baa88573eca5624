"""The registered model: MLflow loads this file ("models from code"), and its safetensors.

The file imports nothing of Atelier. The network's own source is stored with its weights and loaded
by path under a name of its own, so versions from different times work side by side in one process.

Contract: float32 NCHW, images in [0, 1], which noise may leave; outputs are clipped to [0, 1]. What
doesn't fit is a ValueError before the network runs. An answer is the same to 1e-5 whatever else is
asked for in the same request.
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
BATCH_PIXELS = 2**19  # in one pass of a classifier
MOST_VALUES = 2**32  # of an answer: 16 GiB
MOST_ITERATIONS = 1000
COUNTS = {"num_images": -1, "seed": -1, "class": -1, "refined": 1, "toward": -1}  # of a GAN
# How far pixels of an image may lie outside of [0, 1] on average: noise of sigma 0.37 puts black
# ones at 0.15. Pictures in [-1, 1] have about 0.25, those in 0..255 about 100.
MEAN_EXCESS = 0.15
STRIP = 256  # rows of an image that are looked at together
EXCESS = 5.0  # of a single pixel: five times the strongest noise that is known, sigma 1


class ServedModel(PythonModel):  # type: ignore[misc]
    """One registered version of any kind.

    `bundle` holds config.json, network.py and weights.safetensors; a restorer's tiles.py as well.

    That of a GAN may hold a restorer as well, in refiner.py and refiner.safetensors, which all its
    images pass through.
    """

    config: dict[str, Any]
    network: torch.nn.Module
    restorer: Any  # tiles.Restorer of the network, if it is one
    refiner: torch.nn.Module | None
    # The signature checks the input. Without this MLflow 3.17 warns at every load that `predict`
    # has no type hints.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Rebuild the network from its stored source and load its weights."""
        bundle = Path(context.artifacts["bundle"])
        self.config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        self.network = _load_network(
            self.config, bundle / "network.py", bundle / "weights.safetensors"
        )
        if self.config["kind"] == "restoration":
            name = self.config["network"]["name"]
            tiles = _load_source(bundle / "tiles.py")
            self.restorer = tiles.Restorer(name, self.network, self.config["channels"])
        refiner = self.config.get("refiner")
        files = bundle / "refiner.py", bundle / "refiner.safetensors"
        self.refiner = _load_network(refiner, *files) if refiner else None

    # No type hints here: MLflow would read them as the schema, and warns of those it doesn't know.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Restored images, class probabilities, or generated images, by kind.

        Args:
            context: MLflow's, unused.
            model_input: restoration and classification: float32 NCHW in [0, 1]; gan: a table with
                any of the columns `num_images`, `seed`, `class` (class -1: all classes in turn),
                one request a row; `truncation` of latents (0: none), `toward`, a second seed
                (below 0: none), by `amount` in [0, 1]; where a restorer is stored with it also
                `refined` (1 unless it is 0).
            params: gan: the same, for all rows without that column; crnn: `iterations`, 0 for the
                trained number; restorers with `noise_level`: `sigma`, the standard deviation of the
                noise of all these images in units of their range, below 0 (the default) to estimate
                it from each.

        Returns:
            float32: x_hat_NCHW in [0, 1], probabilities_NK, or x_NCHW in [0, 1]. Image n of a seed
                is one image,
            however many are asked for.

        Raises:
            ValueError: if the input or a parameter is not of this form; it says what was given and
                what is allowed.
        """
        params = params or {}
        with torch.inference_mode():
            if self.config["kind"] == "gan":
                return self._generate(model_input, params)
            x_NCHW = self._checked_images(model_input)
            if self.config["kind"] == "restoration":
                return self.restorer.restore(x_NCHW, self._restorer_arguments(params))
            batch = max(1, min(BATCH, BATCH_PIXELS // x_NCHW[0, 0].numel()))
            return np.concatenate([self._classify(part) for part in torch.split(x_NCHW, batch)])

    def _checked_images(self, given: Any) -> torch.Tensor:
        """x_NCHW as this model can take it; where it can't, a ValueError."""
        x_NCHW = np.asarray(given)
        channels = self.config["channels"]
        size = self.config["image_size"] if self.config["kind"] == "classification" else None
        sides = (size, size) if size else x_NCHW.shape[2:]
        wanted = f"N x {channels} x {size or 'height'} x {size or 'width'}"
        if x_NCHW.dtype != np.float32 or x_NCHW.ndim != 4 or x_NCHW.shape[1:] != (channels, *sides):
            raise ValueError(
                f"the input is {x_NCHW.dtype} of shape {x_NCHW.shape}; this model takes float32 of "
                f"shape {wanted}, "
                "images in [0, 1]."
            )
        if not x_NCHW.size:
            raise ValueError(
                f"the input holds no pixels: its shape is {x_NCHW.shape}. Give at least one image."
            )
        _refuse_other_ranges(x_NCHW)
        return torch.from_numpy(np.ascontiguousarray(x_NCHW))

    def _classify(self, x_NCHW: torch.Tensor) -> np.ndarray:
        logits_NK: torch.Tensor = self.network(x_NCHW.to(self._device()))
        return logits_NK.softmax(dim=1).cpu().numpy()

    def _restorer_arguments(self, params: dict[str, Any]) -> dict[str, Any]:
        """Those of the network's `forward`, checked."""
        iterations = _whole_number("iterations", params.get("iterations", 0))
        if not 0 <= iterations <= MOST_ITERATIONS:
            raise ValueError(
                f"iterations = {iterations} must be at least 1 and at most {MOST_ITERATIONS}, or 0 "
                "for the number it "
                "was trained with."
            )
        if iterations and "iterations" not in self.config["network"]:
            raise ValueError(
                f"iterations = {iterations}: this restorer is not recurrent. Leave it out."
            )
        arguments: dict[str, Any] = {"iterations": iterations} if iterations else {}
        sigma = params.get("sigma", -1)
        if not isinstance(sigma, int | float | np.number) or not sigma <= 1:
            raise ValueError(
                f"sigma = {sigma} must be at most 1: it is in units of the image range, 25 of 255 "
                "is 0.098."
            )
        if sigma >= 0:
            arguments["sigma"] = float(sigma)
        return arguments

    def _generate(self, requests: pd.DataFrame, params: dict[str, Any]) -> np.ndarray:
        if not isinstance(requests, pd.DataFrame):
            given = type(requests).__name__
            raise ValueError(f"a GAN takes a table of requests (pandas.DataFrame), not {given}.")
        rows: list[Any] = requests.to_dict("records") or [{}]
        checked = [self._check_request(params | row) for row in rows]
        num_images = sum(request["num_images"] for request in checked)
        most = MOST_VALUES // (self.config["channels"] * self.config["image_size"] ** 2)
        if num_images > most:
            raise ValueError(f"num_images = {num_images} in all must be at most {most} at a time.")
        return np.concatenate([self._generate_one(request) for request in checked])

    def _check_request(self, given: dict[str, Any]) -> dict[str, Any]:
        """A request that this GAN can answer, with all keys."""
        request = {key: _whole_number(key, given.get(key, usual)) for key, usual in COUNTS.items()}
        num_images, seed, wanted = (request[key] for key in ("num_images", "seed", "class"))
        num_classes = self.config["network"]["num_classes"]
        if num_images < 1 or not 0 <= seed < 2**63 or not -1 <= wanted < num_classes:
            raise ValueError(
                f"num_images = {num_images} must be at least 1, seed = {seed} at least 0 and below "
                f"2**63, class = {wanted} between 0 and {num_classes - 1}, or -1 for all in turn."
            )
        truncation, amount = (given.get(key, 0.0) for key in ("truncation", "amount"))
        numbers = isinstance(truncation, int | float) and isinstance(amount, int | float)
        if not numbers or not 0 <= truncation < np.inf or not 0 <= amount <= 1:
            raise ValueError(
                f"truncation = {truncation!r} must be a number above 0, or 0 for none, and amount "
                f"= {amount!r} one between 0 and 1."
            )
        return {**request, "truncation": truncation, "amount": amount}

    def _generate_one(self, request: dict[str, Any]) -> np.ndarray:
        network = self.config["network"]
        refiner = self.refiner if request["refined"] else None
        rngs = [_generator(seed) for seed in (request["seed"], request["toward"]) if seed >= 0]
        images = []
        for numbers_B in torch.split(torch.arange(request["num_images"]), BATCH):
            drawn = [draw_latents(len(numbers_B), network["latent_dim"], rng) for rng in rngs]
            z_BZ = drawn[0] if len(drawn) == 1 else interpolate(request["amount"], *drawn)
            z_BZ = truncate(z_BZ, request["truncation"]).to(self._device())
            labels_B = torch.full_like(numbers_B, request["class"])
            labels_B = torch.where(labels_B < 0, numbers_B % network["num_classes"], labels_B)
            x_BCHW = (self.network(z_BZ, labels_B.to(z_BZ.device)) * 0.5 + 0.5).clamp(0, 1)
            x_BCHW = refiner(x_BCHW).clamp(0, 1) if refiner else x_BCHW
            images.append(np.asarray(x_BCHW.cpu()))
        return np.concatenate(images)

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def _generator(seed: int) -> torch.Generator:
    """Torch reads the lowest 32 bits of a seed alone, so larger ones are mixed into these."""
    mixed = seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])
    return torch.Generator().manual_seed(mixed)


def draw_latents(num_images: int, latent_dim: int, rng: torch.Generator) -> torch.Tensor:
    """The latents z_NZ of the next images, one draw an image, so none depends on how many follow.

    Of a draw of all at once torch makes the last 16 values anew, if 16 doesn't divide their number.
    """
    return torch.stack([torch.randn(latent_dim, generator=rng) for _ in range(num_images)])


def interpolate(amount: float, z_NZ: torch.Tensor, toward_NZ: torch.Tensor) -> torch.Tensor:
    """Latents on the great circle from one to another; `amount` 0 is z_NZ, 1 is toward_NZ.

    Where they have one direction, or opposite ones, on the line. Source: White, arXiv:1609.04468.
    """
    angle_N1 = torch.cosine_similarity(z_NZ.double(), toward_NZ.double())[:, None].acos()
    sine_N1 = angle_N1.sin()
    line_2 = torch.tensor([1 - amount, amount], dtype=torch.float64)
    parts_N2 = torch.where(sine_N1 > 1e-6, (line_2 * angle_N1).sin() / sine_N1, line_2)
    return (parts_N2[:, :1] * z_NZ + parts_N2[:, 1:] * toward_NZ).float()


def truncate(z_NZ: torch.Tensor, threshold: float) -> torch.Tensor:
    """The same quantiles of the normal distribution within +-threshold; 0: as they are.

    Source: BigGAN, arXiv:1809.11096, section 3.1, where what lies outside is drawn anew.
    """
    if threshold:
        low, high = torch.special.ndtr(torch.tensor([-threshold, threshold], dtype=torch.float64))
        quantile_NZ = low + (high - low) * torch.special.ndtr(z_NZ.double())
        z_NZ = torch.special.ndtri(quantile_NZ).float().clamp(-threshold, threshold)
    return z_NZ


def _refuse_other_ranges(x_NCHW: np.ndarray) -> None:
    for number, x_CHW in enumerate(x_NCHW):
        low = x_CHW.min()
        high = x_CHW.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            broken = int((~np.isfinite(x_CHW)).sum())
            raise ValueError(
                f"image {number} of the input holds {broken} values that are NaN or infinite."
            )
        excess = _mean_excess(x_CHW)
        if excess > MEAN_EXCESS or low < -EXCESS or high > 1 + EXCESS:
            raise ValueError(
                f"image {number} of the input goes from {low:.4g} to {high:.4g}; images are in "
                "[0, 1], and only noise may leave it. "
                "Divide 0..255 by 255; of -1..1 take (x + 1) / 2."
            )


def _mean_excess(x_CHW: np.ndarray) -> float:
    """How far values lie outside of [0, 1] on average; in strips, which saves two copies."""
    excess = 0.0
    for top in range(0, x_CHW.shape[1], STRIP):
        strip_CSW = x_CHW[:, top : top + STRIP]
        excess += np.abs(strip_CSW - strip_CSW.clip(0, 1)).sum(dtype=np.float64)
    return excess / x_CHW.size


def _whole_number(name: str, given: Any) -> int:
    try:
        number = int(given)
    except (TypeError, ValueError, OverflowError):  # a word, nothing, NaN, infinity
        number = None
    if number is None or number != given:
        raise ValueError(f"{name} = {given!r} must be a whole number.")
    return number


def _load_network(config: dict[str, Any], source: Path, weights: Path) -> torch.nn.Module:
    builder = getattr(_load_source(source), config["builder"])
    network: torch.nn.Module = builder(
        **{key: value for key, value in config["network"].items() if key != "name"}
    )
    network.load_state_dict(load_file(weights))
    return network.eval().requires_grad_(False)


def _load_source(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"atelier_network_{uuid.uuid4().hex}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mlflow.models.set_model(ServedModel())
