"""`atelier serve` against `mlflow models serve`: the same version, the same pictures, in turns.

    python benchmarks/serving.py [--project FOLDER --model NAME] [--seconds 120] [--clients 8]

Without a project it makes one with the network of the demo's denoiser: speed doesn't depend on its
weights. Both get pictures of 256 x 256 and 512 x 512: PNG in and out here, JSON there, which is
what `mlflow models serve` takes. Then a promotion and a rollback happen under load.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

DENOISER = {"name": "cnn", "channels": 1, "width": 32, "depth": 6, "upscale": 1}
BIN = Path(sys.executable).parent
BOUNDARY = "picture"


@dataclass
class Load:
    """What clients saw.

    Attributes:
        seconds: of each answer.
        statuses: how many of each.
        versions: when each X-Model-Version was first answered with, in seconds of the load.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    versions: dict[str, list[float]] = field(default_factory=dict)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--model", default="denoise")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.project or make_project(Path(scratch), arguments.model)
        compare(root, arguments.model, arguments.seconds, arguments.clients)


def make_project(root: Path, model: str) -> Path:
    """A project with two versions of the demo's denoiser, untrained."""
    from atelier.data.store import DatasetInfo
    from atelier.networks.restorers import build_restorer
    from atelier.project import Project, set_environment
    from atelier.serving.bundle import write_bundle
    from atelier.training.session import Trained

    (root / "params.yaml").write_text("seed: 7\n", encoding="utf-8")
    set_environment(Project(root))
    from atelier.registry import CHAMPION, Registry

    registry = Registry(Project(root))
    for number in (1, 2):
        trained = Trained(build_restorer(**DENOISER), DENOISER, 0)
        info = DatasetInfo(28, 1, 0, (), {})
        bundle = write_bundle(root / f"made-{number}" / "bundle", "restoration", trained, info)
        run_id = registry.runs.start(model, f"fingerprint {number}", {})
        registry.runs.end(run_id, "FINISHED")
        registry.register(model, run_id, bundle, {})
    registry.set_alias(model, CHAMPION, 1)
    return root


def compare(root: Path, model: str, seconds: float, clients: int) -> None:
    """Both servers under load in turns, then the registry changed under load."""
    from atelier.project import Project, set_environment

    os.chdir(root)
    set_environment(Project(root))
    ours = free_port()
    theirs = free_port()
    own_version = champion_of(root, model)
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    uri = f"models:/{model}/{own_version}"
    servers = [
        subprocess.Popen([BIN / "atelier", "serve", model, "--port", str(ours)]),
        subprocess.Popen(
            [BIN / "mlflow", "models", "serve", "-m", uri, "-p", str(theirs)]
            + ["--env-manager", "local"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ),
    ]
    try:
        for port, path in ((ours, "/health"), (theirs, "/ping")):
            wait_for(port, path)
        rows = []
        for side in (256, 512):
            rows.append(measure_side(root, model, side, ours, theirs, seconds, clients))
        print_table(rows)
        change_under_load(root, model, ours, clients)
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()


def measure_side(
    root: Path, model: str, side: int, ours: int, theirs: int, seconds: float, clients: int
) -> dict[str, float]:
    """Answers a second under load, and milliseconds of one client alone, for both."""
    x_1CHW = picture(side)
    png = upload(encode(x_1CHW))
    values = json.dumps({"inputs": x_1CHW.round(4).tolist()}).encode()
    requests = {
        "atelier": (ours, f"/restore/{model}", png, f"multipart/form-data; boundary={BOUNDARY}"),
        "mlflow": (theirs, "/invocations", values, "application/json"),
    }
    row: dict[str, float] = {"side": side, "network": bare_milliseconds(root, model, x_1CHW)}
    turns = {name: Load() for name in requests}
    for name, request in requests.items():
        alone = load(*request, clients=1, seconds=3.0)
        row[f"{name} ms"] = 1000 * statistics.median(alone.seconds)
    for _ in range(2):  # in turns
        for name, request in requests.items():
            part = load(*request, clients=clients, seconds=seconds / 4)
            turns[name].seconds += part.seconds
            turns[name].statuses += part.statuses
    for name, total in turns.items():
        assert set(total.statuses) == {200}, f"{name}: {total.statuses}"
        row[f"{name} /s"] = len(total.seconds) / (seconds / 2)
        row[f"{name} p99"] = 1000 * float(np.percentile(total.seconds, 99))
    return row


def print_table(rows: list[dict[str, float]]) -> None:
    """As Markdown."""
    print(
        "| picture | network alone | atelier, one client | mlflow, one client | atelier under ",
        end="",
    )
    print("load | mlflow under load | ratio | atelier p99 |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        ratio = row["atelier /s"] / row["mlflow /s"]
        print(
            f"| {row['side']} x {row['side']} | {row['network']:.1f} ms | "
            f"{row['atelier ms']:.1f} ms | {row['mlflow ms']:.1f} ms | {row['atelier /s']:.1f}/s | "
            f"{row['mlflow /s']:.1f}/s | {ratio:.1f} | {row['atelier p99']:.0f} ms |"
        )


def change_under_load(root: Path, model: str, port: int, clients: int) -> None:
    """Another version becomes champion, and the first one again, while clients ask."""
    from atelier.project import Project
    from atelier.registry import CHAMPION, Registry

    registry = Registry(Project(root))
    before = champion_of(root, model)
    others = [version.number for version in registry.versions(model) if version.number != before]
    if not others:
        print("one version only: nothing to change to.")
        return
    request = (port, f"/restore/{model}", upload(encode(picture(256))))
    seen: list[Load] = []
    kind = f"multipart/form-data; boundary={BOUNDARY}"

    def ask() -> None:
        seen.append(load(*request, kind, clients=clients, seconds=22.0))

    thread = threading.Thread(target=ask)
    thread.start()
    began = time.perf_counter()
    changes = []
    for number in (others[-1], before):
        time.sleep(6)
        registry.set_alias(model, CHAMPION, number)
        changes.append((number, time.perf_counter() - began))
    thread.join()
    print(f"\nunder change: {sum(seen[0].statuses.values())} requests, {dict(seen[0].statuses)}")
    for number, when in changes:
        first = min(second for second in seen[0].versions[str(number)] if second > when)
        print(f"version {number} is champion at {when:.1f} s, answers at {first:.1f} s")


def load(port: int, path: str, body: bytes, kind: str, *, clients: int, seconds: float) -> Load:
    """Clients that ask as soon as they are answered, each over one connection."""
    seen = Load()
    began = time.perf_counter()

    def ask() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() - began < seconds:
            asked = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            answer.read()
            now = time.perf_counter()
            seen.seconds.append(now - asked)
            seen.statuses[answer.status] += 1
            version = answer.headers.get("X-Model-Version", "")
            seen.versions.setdefault(version, []).append(now - began)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def bare_milliseconds(root: Path, model: str, x_1CHW: np.ndarray) -> float:
    """The network alone, in this process."""
    import torch

    from atelier.project import Project
    from atelier.registry import Registry

    registry = Registry(Project(root))
    network = registry.load(registry.resolve(model)).unwrap_python_model().network
    images = torch.from_numpy(x_1CHW)
    times = []
    with torch.inference_mode():
        for _ in range(30):
            asked = time.perf_counter()
            network(images)
            times.append(1000 * (time.perf_counter() - asked))
    return statistics.median(times)


def picture(side: int) -> np.ndarray:
    """A smooth picture with noise, 1CHW, in [0, 1]."""
    rng = np.random.default_rng(0)
    plane = np.add.outer(np.sin(np.arange(side) / 20), np.cos(np.arange(side) / 31)) / 4 + 0.5
    noisy = plane + rng.normal(0, 0.1, plane.shape)
    return noisy.clip(0, 1).astype(np.float32)[None, None]


def encode(x_1CHW: np.ndarray) -> bytes:
    """As PNG."""
    import io

    from PIL import Image

    content = io.BytesIO()
    Image.fromarray((x_1CHW[0, 0] * 255).round().astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def upload(content: bytes) -> bytes:
    """The body of a form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
    kind = "Content-Type: image/png\r\n\r\n"
    return f"{head}{kind}".encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def champion_of(root: Path, model: str) -> int:
    """Number of the version that answers."""
    from atelier.project import Project
    from atelier.registry import Registry

    return Registry(Project(root)).aliases()[model]["champion"]


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, path: str) -> None:
    """Until a server answers."""
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2)
            return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"nothing answers at port {port}.")


if __name__ == "__main__":
    main()
