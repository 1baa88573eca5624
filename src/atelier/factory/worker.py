"""One of several processes that train a model: `torchrun -m atelier.factory.worker JOB.json`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from atelier.errors import AtelierError
from atelier.factory.training_run import Job, train_in_process
from atelier.params import Params
from atelier.training.device import choose_device
from atelier.training.interruption import Stopped, StopSignals


def main(file: Path) -> int:
    """Take part in the training that `file` describes; returns the exit code."""
    content = json.loads(file.read_text(encoding="utf-8"))
    job = Job(**content["job"])
    params = Params.model_validate_json(json.dumps(content["params"]))
    if choose_device(params.device).type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl")
    else:
        os.environ.setdefault(
            "GLOO_SOCKET_IFNAME", "lo"
        )  # one machine: its own name may not resolve
        dist.init_process_group("gloo")
    try:
        with StopSignals(deliver=False) as signals:
            train_in_process(job, params, signals)
    except AtelierError as error:
        if dist.get_rank() == 0:
            file.with_suffix(".error").write_text(str(error), encoding="utf-8")
        return 1
    except Stopped:
        return 1
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
