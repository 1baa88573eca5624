"""Training throughput of every recipe in params.yaml, and the time of reading commands.

Rates are also given relative to the classifier's, measured in the same run: machines differ, ratios
less.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from atelier.params import load_params
from atelier.project import find_project, set_environment

SECONDS = 10.0  # of training, after the first second, for each recipe


class Enough(Exception):
    """Ends a training that has been timed long enough."""


def images_per_second(project, params, name: str) -> float:
    """Rate of the training loop after its first second."""
    import torch

    from atelier.data.store import read_dataset
    from atelier.factory.training_run import LOOPS
    from atelier.training.checkpoint import Checkpoints
    from atelier.training.session import Session

    model = params.models[name]
    often = {"log_every_kimg": 0.2, "sample_every_kimg": 1e9, "checkpoint_every_kimg": 1e9}
    model = model.model_copy(update={"training": model.training.model_copy(update=often)})
    marks: list[tuple[float, int]] = []
    started = time.perf_counter()

    def on_log(images_seen: int, values: object) -> None:
        now = time.perf_counter()
        if now - started > 1:
            marks.append((now, images_seen))
        if now - started > SECONDS + 1:
            raise Enough

    with tempfile.TemporaryDirectory() as folder:
        session = Session(
            torch.device("cpu"), params.seed, Checkpoints(Path(folder), ""), on_log, lambda *_: None
        )
        try:
            LOOPS[model.kind](model, read_dataset(project.root, model.dataset), session)
        except Enough:
            pass
    (first, seen_first), (last, seen_last) = marks[0], marks[-1]
    return (seen_last - seen_first) / (last - first)


def seconds(*command: str) -> float:
    """Wall time of a process, the best of three."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Print two Markdown tables."""
    project = find_project()
    set_environment(project)
    params = load_params(project.params_file)
    atelier = str(Path(sys.executable).with_name("atelier"))
    print("| command | s |\n|---|---|")
    for arguments in (["--help"], ["plan"], ["history"]):
        print(f"| `atelier {' '.join(arguments)}` | {seconds(atelier, *arguments):.2f} |")

    from atelier.training.device import make_deterministic

    threads = make_deterministic(params.threads)
    print(
        f"\n| model, {threads} CPU threads | images/s | relative | kimg | training, s "
        "|\n|---|---|---|---|---|"
    )
    reference = None
    for name, model in params.models.items():
        rate = images_per_second(project, params, name)
        reference = reference or rate
        estimate = model.training.kimg * 1000 / rate
        print(
            f"| {name} | {rate:,.0f} | {rate / reference:.2f} | {model.training.kimg:g} | "
            f"{estimate:.0f} |"
        )


if __name__ == "__main__":
    main()
