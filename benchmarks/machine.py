"""The lines above a table: how it was made, on what, and from which random numbers."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path

import numpy as np
import torch


def described(seed: int) -> str:
    """The exact command, the machine, and the seed, as Markdown.

    Args:
        seed: of all random numbers.
    """
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    script = Path(sys.argv[0])
    command = shlex.join(["python", f"{script.parent.name}/{script.name}", *sys.argv[1:]])
    return (
        f"`{command}`, seed {seed}: {os.cpu_count()} CPUs of "
        f"{names[0] if names else platform.processor()}, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, numpy "
        f"{np.__version__}, torch "
        f"{torch.__version__} with {torch.get_num_threads()} threads, load average "
        f"{os.getloadavg()[0]:.1f} at the start\n"
    )
