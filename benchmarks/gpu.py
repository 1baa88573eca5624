"""Everything that training on a card may break or slow down, tried in one command.

`python benchmarks/gpu.py [--device auto|cpu|cuda] [--quick] [--only 1,3] [--minutes 10] [--shard
FOLDER] [--out FOLDER]` needs neither project nor network, and no Prefect, MLflow or DVC:
`benchmarks/gpu_carry.sh` collects what else a bare machine with torch lacks. It writes gpu.json and
gpu.md after every finding, so that a command that is cut leaves what it had, and ends with 1 if a
check failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from atelier.errors import AtelierError, UsageError
from atelier.training.device import choose_device, make_deterministic
from benchmarks.on_card import networks, processes, quality, rates, resume, served
from benchmarks.on_card.report import (
    FAILED,
    Finding,
    OutOfTime,
    Part,
    Value,
    describe_error,
    write_report,
)
from benchmarks.on_card.setting import Setting

Check = Callable[[Setting], Iterator[Finding]]
# What each asks, and its share of the time; what one leaves over goes to those after it.
PARTS: dict[int, tuple[str, Check, float]] = {
    1: ("Every network and loss learns, as on the CPU", networks.check, 0.30),
    2: ("Killed, stopped, thrown back: nothing differs", resume.check, 0.20),
    3: ("Images a second beside bare loops", rates.check, 0.15),
    4: ("Served as on the CPU, within memory", served.check, 0.10),
    5: ("Quality against minutes", quality.check, 0.15),
    6: ("Two processes", processes.check, 0.10),
}
QUICK_MINUTES = 6.0  # a bound; on two quiet cores it takes under 2
MINUTES = 10.0


def parse_arguments() -> argparse.Namespace:
    """The command line, checked before any work.

    Raises:
        UsageError: if a value is none that is allowed.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="tiny networks and few steps")
    parser.add_argument("--only", default="", help="parts, such as 1,3 (default: all)")
    parser.add_argument(
        "--minutes", type=float, default=None, help="of all parts together at most (10, quick: 6)"
    )
    parser.add_argument(
        "--shard",
        type=Path,
        default=None,
        help="folder of data: fashion-mnist/, train/, set12/; or pictures to score on",
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="folder of the report")
    arguments = parser.parse_args()
    asked = [word.strip() for word in arguments.only.split(",") if word.strip()]
    unknown = [word for word in asked if word not in map(str, PARTS)]
    if unknown:
        raise UsageError(
            f"--only {arguments.only}: {unknown[0]!r} is no part. Parts are "
            f"{', '.join(map(str, PARTS))}, separated by commas."
        )
    arguments.only = sorted({int(word) for word in asked}) or list(PARTS)
    if arguments.minutes is None:
        arguments.minutes = QUICK_MINUTES if arguments.quick else MINUTES
    if not arguments.minutes > 0:
        raise UsageError(f"--minutes {arguments.minutes}: it must be above 0.")
    if arguments.shard is not None and not arguments.shard.is_dir():
        raise UsageError(f"--shard {arguments.shard}: no such folder. Leave it out: data is made.")
    return arguments


def describe(device: torch.device, quick: bool) -> dict[str, Value]:
    """How the report was made: the command, the device and the versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    title = f"Training on {name}"
    if device.type == "cpu":
        title += ": no card, only the shape of what one would give"
    script = Path(sys.argv[0])
    return {
        "title": title,
        "command": shlex.join(["python", f"{script.parent.name}/{script.name}", *sys.argv[1:]]),
        "device": f"{device} ({name}), {os.cpu_count()} CPUs",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, CUDA "
        f"{torch.version.cuda or 'none'}, {torch.get_num_threads()} threads",
        "size": "quick: tiny networks" if quick else "full",
    }


def run_part(part: Part, check: Check, setting: Setting, note: Callable[[], None]) -> None:
    """All findings of a part, each noted at once; an error ends this part alone."""
    began = time.perf_counter()
    try:
        for finding in check(setting):
            part.findings.append(finding)
            part.seconds = time.perf_counter() - began
            setting.check_time()
            note()
    except OutOfTime as late:
        part.reason = str(late)
    except Exception as error:
        part.reason = describe_error(error)
    part.seconds = time.perf_counter() - began
    note()


def main() -> int:
    """Exit code: 1 if a check failed, 2 if the command can't be understood."""
    try:
        arguments = parse_arguments()
        device = choose_device(arguments.device)
    except AtelierError as error:
        print(error, file=sys.stderr)
        return 2
    # Steps of tiny networks gain nothing from a second thread, and lose by waiting for it.
    make_deterministic(1 if arguments.quick else "auto")
    arguments.out.mkdir(parents=True, exist_ok=True)
    made = describe(device, arguments.quick)
    parts: list[Part] = []
    ends_at = time.perf_counter() + 60 * arguments.minutes
    left = arguments.only.copy()
    for number in arguments.only:
        title, check, share = PARTS[number]
        now = time.perf_counter()
        seconds = (ends_at - now) * share / sum(PARTS[other][2] for other in left)
        left.remove(number)
        part = Part(number, title)
        parts.append(part)
        with tempfile.TemporaryDirectory() as scratch:
            setting = Setting(
                device, arguments.quick, arguments.shard, Path(scratch), seconds, now + seconds
            )
            run_part(part, check, setting, lambda: write_report(arguments.out, made, parts))
        failures = [finding.subject for finding in part.findings if finding.status == FAILED]
        reasons = [part.reason] if part.reason else []
        print(f"{number}. {title}: {part.status}, {part.seconds:.0f} s", *failures, *reasons)
    print(f"Written: {arguments.out / 'gpu.md'}, {arguments.out / 'gpu.json'}")
    return int(any(part.status == FAILED for part in parts))


if __name__ == "__main__":
    sys.exit(main())
