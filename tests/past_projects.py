"""A copy of this repository with a past: its own code, data, parameters and registered versions of tiny models."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from atelier.data import versions
from atelier.params import Dataset
from tests.dvc_projects import commit, run
from tests.stored import ingest_all_stages
from tests.tiny import CNN, EVALUATION, NOISE, R3_GAN, RECIPES, RHYTHM, TRAINING

REPOSITORY = Path(__file__).parents[1]
PHOTOS = {"source": "folder", "path": "raw", "image_size": 16, "channels": 1, "test_fraction": 0.4}
DENOISE = {"kind": "restoration", "dataset": "photos", "degradation": [NOISE], "network": CNN, "loss": "charbonnier"}
MODELS = {
    "classifier": {**RECIPES["classifier"], "dataset": "photos"},
    "gan": {**RECIPES["gan"], **R3_GAN, "dataset": "photos"},
    "denoise": DENOISE,
    "extended": {**DENOISE, "data": {"extend": {"gan": "gan", "images": 16}}, "compare_with": "denoise"},
}
STAGES = """
import sys
from atelier import promotion, stages
from atelier.params import load_params
from atelier.project import find_project, set_environment
project = find_project()
set_environment(project)
params = load_params(project.params_file)
for name in sys.argv[1:]:
    number = stages.train(project, params, name, "a flow run")
    stages.evaluate(project, params, name, number)
    stages.inspect(project, name, number)
    promotion.decide(project, params, name, number)
"""


def environment(code):
    """The code of this folder, and nothing that points to another registry."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_", "DVC_"))}
    return {**ours, "PYTHONPATH": f"{code / 'src'}{os.pathsep}{code}", "OMP_NUM_THREADS": "1"}


def write_params(root, **changes):
    """params.yaml, with other values of its top-level keys."""
    models = {name: {**model, "training": {**TRAINING, **RHYTHM}} for name, model in MODELS.items()}
    gates = {"classification": "accuracy", "gan": "kid_classifier", "restoration": "psnr"}
    params = {
        "seed": 7, "device": "cpu", "threads": 1, "datasets": {"photos": PHOTOS}, "models": models,
        "evaluation": EVALUATION, "promotion": {kind: {"metric": metric} for kind, metric in gates.items()}, **changes,
    }  # fmt: skip
    with (root / "params.yaml").open("w") as file:
        YAML().dump(json.loads(json.dumps(params)), file)
    return params


def add_pictures(root, numbers):
    """Pictures of two classes, told apart by their brightness, and their version."""
    for number in numbers:
        path = root / "raw" / ("dark", "light")[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 128, (16, 16), np.uint8) + 127 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    ingest_all_stages(root, "photos", Dataset.model_validate_json(json.dumps(PHOTOS)))
    versions.track(root)
    versions.push(root)


def project_with_pictures(root, with_code):
    """A git repository with DVC set up and sixty pictures: a copy of this one, or one that only uses Atelier."""
    (root / ".dvc").mkdir(parents=True)
    if with_code:
        shutil.copytree(REPOSITORY / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / ".dvc" / "config", root / ".dvc")
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, root)
    run(root, "git", "init", "-q")
    write_params(root)
    add_pictures(root, range(60))
    commit(root, "first pictures")
    return root


def bring_up(root, *models, code=None):
    """Train, evaluate and judge, as the flow does, by the project's own code or that of another folder."""
    subprocess.run([sys.executable, "-c", STAGES, *models], cwd=root, env=environment(code or root), check=True)


def atelier(root, *words, code=None):
    """Run a command in a project, by its own code or that of another folder."""
    command, variables = [sys.executable, "-m", "atelier.cli", *words], environment(code or root)
    return subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, timeout=300)


def answer(root, *words, exit_code=0, code=None):
    """What a command prints as JSON."""
    done = atelier(root, *words, "--json", code=code)
    assert done.returncode == exit_code, done.stderr
    return json.loads(done.stdout)
