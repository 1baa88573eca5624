"""Score a registered restorer of grey pictures by the protocol of published tables.

    python benchmarks/published.py denoise@champion --task denoise --sigma 25 --pictures
    ../shared/data/set12 python benchmarks/published.py enlarge/2 --task enlarge --factor 2
    --pictures ../shared/data/set5 python benchmarks/published.py deblock --task deblock --quality
    10 --pictures ../shared/data/classic5 python benchmarks/published.py denoise@champion --history
    psnr.png python benchmarks/published.py --task denoise --sigma 25 --classical --pictures
    ../shared/data/set12

Without a model the baselines alone are scored; `--classical` adds the denoisers that are installed.
`--history` draws the PSNR on validation images against CPU minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atelier.errors import AtelierError, UsageError
from atelier.metrics.denoisers import Denoiser, denoisers_for
from atelier.project import find_project, set_environment
from atelier.registry import Registry, Version
from atelier.training.device import make_deterministic
from benchmarks import protocols
from benchmarks.chart import draw
from benchmarks.machine import described
from benchmarks.protocols import Task


def task_of(arguments: argparse.Namespace) -> Task:
    """The protocol that was asked for."""
    if arguments.task == "denoise":
        return protocols.denoising(arguments.sigma)
    if arguments.task == "enlarge":
        return protocols.enlarging(arguments.factor)
    return protocols.deblocking(arguments.quality)


def fitting(served: Any, version: Version, task: Task) -> Any:
    """The network of a served model that can do the task.

    Raises:
        UsageError: if it can't.
    """
    config = served.config
    if config["kind"] != "restoration" or config["channels"] != 1:
        raise UsageError(
            f"{version} is no restorer of grey pictures. Name one that learnt images of one "
            "channel."
        )
    if served.network.upscale != task.upscale:
        raise UsageError(
            f"{version} makes pictures {served.network.upscale} times as large, this task asks for "
            f"{task.upscale} "
            "times. Give --factor, or name another model."
        )
    return served.network


def table(
    folder: Path, task: Task, network: Any, denoisers: Mapping[str, Denoiser] | None = None
) -> list[list[float]]:
    """Print a Markdown table; returns each picture's PSNR: the baselines', then every estimate's.

    Args:
        folder: of the pictures.
        task: the protocol.
        network: the restorer; None: the baselines alone.
        denoisers: classical ones by name, for a task that is denoising.

    Raises:
        UsageError: if there are no pictures.
    """
    rows: list[list[float]] = []
    for path in protocols.picture_files(folder):
        with Image.open(path) as image:
            x_HW = task.clean(image)
        y_hw = task.degrade(x_HW)
        restored = [
            protocols.denoised(denoiser, y_hw, task) for denoiser in (denoisers or {}).values()
        ]
        count = 0
        if network is not None:
            estimates = protocols.estimates(network, y_hw, task)
            restored, count = restored + estimates, len(estimates)
        row = [protocols.baseline_psnr(y_hw, x_HW, task)]
        row += [protocols.psnr(x_hat, x_HW, task.scored) for x_hat in restored]
        if not rows:
            titles = (
                ["model"] if count == 1 else [f"iteration {number + 1}" for number in range(count)]
            )
            print(
                f"| picture | {' | '.join([task.named, *(denoisers or {}), *titles])} "
                f"|\n|---|{'---|' * len(row)}"
            )
        rows.append(row)
        print(f"| {path.stem} | {' | '.join(f'{value:.2f}' for value in row)} |", flush=True)
    if not rows:
        raise UsageError(f"{folder} holds no pictures. Name a folder of pictures with --pictures.")
    print(f"| **mean** | {' | '.join(f'**{value:.3f}**' for value in np.mean(rows, axis=0))} |")
    return rows


def history(registry: Registry, version: Version, picture: Path) -> list[tuple[float, float]]:
    """Print validation PSNR against CPU minutes, and draw it; returns the pairs.

    Raises:
        UsageError: if the run has fewer than two of them.
    """
    minutes, psnr = (
        registry.runs.history(version.run_id, name) for name in ("minutes", "validation/psnr")
    )
    points = [(minutes[step], value) for step, value in psnr.items() if step in minutes]
    if len(points) < 2:
        raise UsageError(
            f"the run of {version} has logged {len(points)} values of validation/psnr: no line to "
            "draw."
        )
    print("\n| CPU minutes | validation PSNR, dB |\n|---|---|")
    for at, value in points:
        print(f"| {at:.2f} | {value:.2f} |")
    draw(picture, points, ("CPU minutes", f"{version}: PSNR on validation images, dB"))
    print(f"\n{picture}")
    return points


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="NAME (its champion), NAME@ALIAS or NAME/VERSION")
    parser.add_argument(
        "--project", type=Path, help="folder with params.yaml (default: here or above)"
    )
    parser.add_argument("--task", choices=["denoise", "enlarge", "deblock"])
    parser.add_argument("--sigma", type=float, default=25.0, help="of noise, of 255")
    parser.add_argument("--factor", type=int, default=2, help="of enlargement")
    parser.add_argument("--quality", type=int, default=10, help="of JPEG")
    parser.add_argument("--pictures", type=Path, help="folder")
    parser.add_argument(
        "--classical", action="store_true", help="score non-local means and BM3D too, if installed"
    )
    parser.add_argument(
        "--history", type=Path, metavar="PNG", help="draw the course of the training"
    )
    parser.add_argument("--threads", type=int, help="of torch (default: one for each core)")
    arguments = parser.parse_args()
    if (arguments.task is None) != (arguments.pictures is None) or not (
        arguments.task or arguments.history
    ):
        parser.error("give --task and --pictures, or --history, or all three")
    if arguments.classical and arguments.task != "denoise":
        parser.error("--classical needs --task denoise")
    if arguments.history and not arguments.model:
        parser.error("--history needs a model")
    return arguments


def main() -> None:
    """Print Markdown tables."""
    arguments = parsed()
    make_deterministic(arguments.threads or "auto")
    print(described(seed=0))
    registry = version = None
    if arguments.model:
        project = find_project(arguments.project)
        set_environment(project)
        registry = Registry(project)
        version = registry.resolve(arguments.model)
    if arguments.task:
        task = task_of(arguments)
        network = None
        if registry is not None:
            network = fitting(registry.load(version).unwrap_python_model(), version, task)
            print(
                f"{version}: {sum(weight.numel() for weight in network.parameters()):,} "
                "parameters\n"
            )
        denoisers = {}
        if arguments.classical:
            denoisers = denoisers_for([{"noise": {"sigma": task.sigma}}])
            print("".join(f"{name}: {denoiser.text}\n" for name, denoiser in denoisers.items()))
        table(arguments.pictures, task, network, denoisers)
    if arguments.history:
        history(registry, version, arguments.history)


if __name__ == "__main__":
    try:
        main()
    except AtelierError as error:
        raise SystemExit(f"error: {error}") from None
