"""Runs many `atelier` commands in one process, since importing Prefect takes seconds.

See test_mistakes.py.

The working directory is a project, in which `photo-denoise/1` is registered, untrained.
"""

import json
import os
import resource
import sys
import tempfile
import traceback
from pathlib import Path

from atelier import cli
from atelier.data.store import DatasetInfo
from atelier.networks.restorers import build_restorer
from atelier.project import Project, set_environment
from atelier.registry import Registry
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained


def register(project):
    config = {"name": "cnn", "channels": 1, "width": 4, "depth": 2}
    trained = Trained(build_restorer(**config).eval(), config, 0)
    info = DatasetInfo(16, 1, 0, (), {"train": 1, "validation": 1, "test": 1})
    bundle = write_bundle(project.cache / "bundle", "restoration", trained, info)
    registry = Registry(project)
    registry.register("photo-denoise", registry.runs.start("photo-denoise", "f", {}), bundle, {})


def exit_code(words):
    sys.argv = ["atelier", *words]
    try:
        cli.main()
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def run(words, folder, variables, max_bytes):
    """Exit code and both outputs, caught at the file descriptors: whoever writes, writes there."""
    os.chdir(folder)
    before = dict(os.environ)
    os.environ |= variables
    terminal = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        os.dup2(output.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, resource.RLIM_INFINITY))
        code = exit_code(words)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(terminal[0], 1)
        os.dup2(terminal[1], 2)
        texts = [file.seek(0) or file.read() for file in (output, errors)]
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ |= before
    return [code, *texts]


def run_all(answers_file, commands):
    """Run [{"words", "folder", "variables", "max_bytes"}] and write [[code, output, errors]]."""
    project = Project(Path.cwd())
    set_environment(project)
    register(project)
    answers_file.write_text(json.dumps([run(**command) for command in commands]))
