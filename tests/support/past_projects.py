"""A copy of this repository with a past.

Its own code, data, parameters and registered versions of tiny models.
"""

import json
import os
import shutil

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from atelier.data.versions import dvc
from atelier.params import Dataset
from tests.support import processes
from tests.support.dvc_projects import commit, run
from tests.support.places import REPOSITORY
from tests.support.stages import bring_up_models
from tests.support.stored import ingest_all_stages
from tests.support.tiny import CNN, EVALUATION, NOISE, R3_GAN, RECIPES, RHYTHM, TRAINING

PHOTOS = {"source": "folder", "path": "raw", "image_size": 16, "channels": 1, "test_fraction": 0.4}
DENOISE = {
    "kind": "restoration",
    "dataset": "photos",
    "degradation": [NOISE],
    "network": CNN,
    "loss": "charbonnier",
}
MODELS = {
    "classifier": {**RECIPES["classifier"], "dataset": "photos"},
    "gan": {**RECIPES["gan"], **R3_GAN, "dataset": "photos"},
    "denoise": DENOISE,
    "extended": {
        **DENOISE,
        "data": {"extend": {"gan": "gan", "images": 16}},
        "compare_with": "denoise",
    },
}


def environment(code):
    """The code of this folder, and nothing that points to another registry."""
    path = f"{code / 'src'}{os.pathsep}{code}"
    return processes.clean_environment(PYTHONPATH=path, OMP_NUM_THREADS="1")


def write_params(root, **changes):
    """params.yaml, with other values of its top-level keys."""
    models = {name: {**model, "training": {**TRAINING, **RHYTHM}} for name, model in MODELS.items()}
    gates = {"classification": "accuracy", "gan": "kid_classifier", "restoration": "psnr"}
    params = {
        "seed": 7,
        "device": "cpu",
        "threads": 1,
        "datasets": {"photos": PHOTOS},
        "models": models,
        "evaluation": EVALUATION,
        "promotion": {kind: {"metric": metric} for kind, metric in gates.items()},
        **changes,
    }
    with (root / "params.yaml").open("w") as file:
        YAML().dump(json.loads(json.dumps(params)), file)
    return params


def add_pictures(root, numbers):
    """Pictures of two classes, told apart by their brightness, and their version."""
    for number in numbers:
        path = root / "raw" / ("dark", "light")[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 128, (16, 16), np.uint8) + 127 * (
            number % 2
        )
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    ingest_all_stages(root, "photos", Dataset.model_validate_json(json.dumps(PHOTOS)))
    dvc.track(root)
    dvc.push(root)


def project_with_pictures(root, with_code):
    """A git repository with DVC set up and sixty pictures.

    A copy of this one, or one that only uses Atelier.
    """
    (root / ".dvc").mkdir(parents=True)
    if with_code:
        shutil.copytree(
            REPOSITORY / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(REPOSITORY / ".dvc" / "config", root / ".dvc")
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, root)
    run(root, "git", "init", "-q")
    write_params(root)
    add_pictures(root, range(60))
    commit(root, "first pictures")
    return root


def bring_up(root, *models, code=None):
    """Train, evaluate and judge, as the flow does, by the project's own code or another
    folder's."""
    variables = environment(code or root)
    done = processes.run(bring_up_models, *models, folder=root, environment=variables)
    assert done.returncode == 0, done.stderr


def atelier(root, *words, code=None):
    """Run a command in a project, by its own code or that of another folder."""
    variables = environment(code or root)
    return processes.run(processes.command, *words, folder=root, environment=variables)


def answer(root, *words, exit_code=0, code=None):
    """What a command prints as JSON."""
    done = atelier(root, *words, "--json", code=code)
    assert done.returncode == exit_code, done.stderr
    return json.loads(done.stdout)
