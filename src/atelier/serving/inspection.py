"""Query one registered version as a stranger would; a program that imports nothing of Atelier.

    python inspection.py URI < SIGNATURES.json

SIGNATURES: a list, of which MLflow should have stored one; the first is today's. The last line that
it prints is JSON: {"failures": [sentence, ...], "load_seconds", "milliseconds" for one image,
"size": its side in pixels}.
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


def inspect(uri: str, signatures: list[dict[str, Any]]) -> dict[str, Any]:
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
    report: dict[str, Any] = {"load_seconds": time.perf_counter() - started, "failures": []}
    failures = report["failures"]
    served = model.unwrap_python_model()
    networks = {"network": served.network, "refiner": getattr(served, "refiner", None)}
    for name, network in networks.items():
        broken = _not_finite(network) if network else []
        if broken:
            failures.append(f"NaN or infinite weights in the {name}: {', '.join(broken[:3])}")
    metadata = model.metadata.signature
    stored = None if metadata is None else metadata.to_dict()
    if stored not in signatures:
        failures.append(f"wrong signature: {stored}; this kind of model has {signatures[0]}")
    return report if failures else report | _query(model, served.config)


def _not_finite(network: Any) -> list[str]:
    """Names of the weights that hold NaN or infinite values."""
    return [key for key, value in network.state_dict().items() if not value.isfinite().all()]


def _query(model: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Shape, range and repeatability of answers, and the time for one image."""
    size = config["image_size"] or 64
    problems = [_ask(model, request, shape) for request, shape in _requests(config, size)]
    failures = [problem for problem in problems if problem]
    milliseconds = None if failures else _time_one_image(model, config, size)
    return {"failures": failures, "size": size, "milliseconds": milliseconds}


def _ask(model: Any, request: Any, shape: tuple[int, ...]) -> str:
    """What is wrong with the answer to a request; empty if nothing is."""
    try:
        answer = np.asarray(model.predict(request))
        again = np.asarray(model.predict(request))
    except Exception as error:
        return f"fails on a request: {type(error).__name__}: {str(error).splitlines()[0]}"
    if answer.dtype != np.float32 or answer.shape != shape:
        return f"answers {answer.dtype} {answer.shape} where float32 {shape} is promised"
    if not (np.isfinite(answer).all() and answer.min() >= 0 and answer.max() <= 1):
        bounds = f"[{answer.min():.4g}, {answer.max():.4g}]"
        return f"answers out of range: {bounds}, promised is [0, 1]"
    if not np.array_equal(answer, again):
        return "answers the same request differently"
    return ""


def _time_one_image(model: Any, config: dict[str, Any], size: int) -> float:
    """The median of some calls, in milliseconds."""
    if config["kind"] == "gan":
        request = _table({"num_images": 1})
    else:
        request = _noise(1, config["channels"], size, size)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        model.predict(request)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


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
    upscale = config["network"].get("upscale", 1)
    requests: list[tuple[Any, tuple[int, ...]]] = []
    for height, width in ((size, size), (37, 31)):  # a restorer takes any size
        shape = (2, channels, height * upscale, width * upscale)
        requests.append((_noise(2, channels, height, width), shape))
    return requests


def _noise(count: int, channels: int, height: int, width: int) -> Any:
    return np.random.default_rng(SEED).random((count, channels, height, width), np.float32)


def _table(request: dict[str, int]) -> Any:
    import pandas as pd

    return pd.DataFrame([request])


if __name__ == "__main__":
    torch.set_num_threads(1)  # latency on one core: the one figure that machines have in common
    report = json.dumps(inspect(sys.argv[1], json.load(sys.stdin)))
    print(f"\n{report}")  # the last line; MLflow may have printed others
