"""Projects with git and DVC, and what is done in them by hand."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SCRATCH = tempfile.TemporaryDirectory()


def run(folder, *command):
    """Run a program; its standard output."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, env=environment, text=True
    ).stdout


def run_dvc(folder, *arguments):
    return run(folder, sys.executable, "-m", "dvc", *arguments)


def commit(folder, subject):
    run(folder, "git", "add", "-A")
    run(
        folder,
        "git",
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@localhost",
        "commit",
        "-qm",
        subject,
    )


def remote(url):
    """What `dvc remote add` and `dvc remote modify` write, a second faster."""
    return f"""['remote "local"']\n  url = {url}\n"""


def new_project(folder, url="../.dvcstore"):
    """A git repository with DVC set up, and a remote."""
    shutil.copytree(_template(), folder, dirs_exist_ok=True)
    (folder / ".dvc" / "config").write_text("[core]\n  remote = local\n" + remote(url))
    return folder


@cache
def _template():
    """What `git init` and `dvc init` make, once for all projects of this process."""
    folder = Path(SCRATCH.name, "template")
    folder.mkdir()
    (folder / ".gitignore").write_text("/data\n.dvcstore/\n.atelier/\n/raw\n")
    (folder / "params.yaml").write_text("")
    run(folder, "git", "init", "-q")
    run_dvc(folder, "init", "-q")
    return folder


def clone_of(project, folder):
    """A fresh clone, with the remote of the project."""
    run(folder.parent, "git", "clone", "-q", str(project), folder.name)
    (folder / ".dvc" / "config.local").write_text(remote(project / ".dvcstore"))
    return folder


def objects_in(store):
    """The objects that a local remote or a cache holds, by md5, with their sizes."""
    return {
        path.parent.name + path.name: path.stat().st_size for path in store.glob("files/md5/*/*")
    }


def params_text(datasets):
    """A valid params.yaml with these datasets, for commands that train nothing.

    The first one is its model's.
    """
    model = {
        "kind": "classification",
        "dataset": next(iter(datasets)),
        "network": {"name": "cnn", "width": 4},
        "training": {"kimg": 1, "batch_size": 4, "lr": 1e-3},
    }
    evaluation = {
        "features": "classifier:small",
        "num_images": 100,
        "confidence": 0.95,
        "cas_kimg": 1,
    }
    metrics = {"classification": "accuracy", "gan": "kid_classifier", "restoration": "psnr"}
    params = {
        "seed": 7,
        "device": "cpu",
        "threads": 1,
        "datasets": datasets,
        "models": {"small": model},
    }
    promotion = {kind: {"metric": metric} for kind, metric in metrics.items()}
    return json.dumps({**params, "evaluation": evaluation, "promotion": promotion})
