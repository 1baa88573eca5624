"""Query one registered version as a stranger would; a program of its own, which imports nothing of Atelier.

    python inspection.py URI < SIGNATURE.json

SIGNATURE: what MLflow should have stored. The last line that it prints is JSON: {"failures": [sentence, ...],
"load_seconds", "milliseconds" for one image, "size": its side in pixels}.
"""

import json
import statistics
import sys
import tempfile
import time
from typing import Any

import mlflow
import numpy as np
import torch

REPEATS = 5
SEED = 7


def inspect(uri: str, signature: dict[str, Any]) -> dict[str, Any]:
    """Load a version and ask it; what is wrong, and how long it took."""
    started = time.perf_counter()
    try:
        # Copied first: of a path with `%`, `#` or `?` MLflow would make another one.
        with tempfile.TemporaryDirectory() as scratch:
            model = mlflow.pyfunc.load_model(uri, dst_path=scratch)
    except Exception as error:  # whatever stops it from being served
        return {
            "failures": [f"can't be loaded: {type(error).__name__}: {str(error).splitlines()[0]}"]
        }
    found: dict[str, Any] = {"load_seconds": time.perf_counter() - started, "failures": []}
    served = model.unwrap_python_model()
    for name, network in (
        ("network", served.network),
        ("refiner", getattr(served, "refiner", None)),
    ):
        broken = (
            [key for key, value in network.state_dict().items() if not value.isfinite().all()]
            if network
            else []
        )
        if broken:
            found["failures"].append(
                f"NaN or infinite weights in the {name}: {', '.join(broken[:3])}"
            )
    stored = model.metadata.signature
    if stored is None or stored.to_dict() != signature:
        was = None if stored is None else stored.to_dict()
        found["failures"].append(f"wrong signature: {was}; this kind of model has {signature}")
    return found if found["failures"] else found | _query(model, served.config)


def _query(model: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Shape, range and repeatability of answers, and the time for one image."""
    size = config["image_size"] or 64
    failures: list[str] = []
    for request, shape in _requests(config, size):
        try:
            answer, again = np.asarray(model.predict(request)), np.asarray(model.predict(request))
        except Exception as error:
            failures.append(
                f"fails on a request: {type(error).__name__}: {str(error).splitlines()[0]}"
            )
            continue
        if answer.dtype != np.float32 or answer.shape != shape:
            failures.append(
                f"answers {answer.dtype} {answer.shape} where float32 {shape} is promised"
            )
        elif not (np.isfinite(answer).all() and answer.min() >= 0 and answer.max() <= 1):
            failures.append(
                f"answers out of range: [{answer.min():.4g}, {answer.max():.4g}], promised is [0, 1]"
            )
        elif not np.array_equal(answer, again):
            failures.append("answers the same request differently")
    one = (
        {"num_images": 1} if config["kind"] == "gan" else _noise(1, config["channels"], size, size)
    )
    request = _table(one) if isinstance(one, dict) else one
    times = []
    for _ in range(REPEATS if not failures else 0):
        started = time.perf_counter()
        model.predict(request)
        times.append(1000 * (time.perf_counter() - started))
    return {
        "failures": failures,
        "size": size,
        "milliseconds": statistics.median(times) if times else None,
    }


def _requests(config: dict[str, Any], size: int) -> list[tuple[Any, tuple[int, ...]]]:
    """Requests, and the shapes of the answers."""
    channels = config["channels"]
    if config["kind"] == "gan":
        return [
            (_table({"num_images": count, "seed": SEED}), (count, channels, size, size))
            for count in (1, 3)
        ]
    if config["kind"] == "classification":
        classes = config["network"]["num_classes"]
        return [(_noise(count, channels, size, size), (count, classes)) for count in (1, 3)]
    sides, upscale = (
        ((size, size), (37, 31)),
        config["network"].get("upscale", 1),
    )  # a restorer takes any size
    return [(_noise(2, channels, h, w), (2, channels, h * upscale, w * upscale)) for h, w in sides]


def _noise(count: int, channels: int, height: int, width: int) -> Any:
    return np.random.default_rng(SEED).random((count, channels, height, width), np.float32)


def _table(request: dict[str, int]) -> Any:
    import pandas as pd

    return pd.DataFrame([request])


if __name__ == "__main__":
    torch.set_num_threads(1)  # latency on one core: the one figure that machines have in common
    report = json.dumps(inspect(sys.argv[1], json.load(sys.stdin)))
    print(f"\n{report}")  # the last line; MLflow may have printed others
