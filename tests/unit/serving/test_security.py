"""What is loaded from the registry is never unpickled (checkpoints: test_training_checkpoint).

Names lead nowhere.
"""

import os
import pickle
from pathlib import Path

import pytest
import torch

from atelier.data.store import DatasetInfo
from atelier.errors import AtelierError, ConfigError, UsageError
from atelier.networks.restorers import build_restorer
from atelier.params import load_params
from atelier.serving.bundle import write_bundle
from atelier.serving.inspection import inspect
from atelier.training.session import Trained
from tests.support.places import EXAMPLE_FILE

MODEL = "fashion-denoise"
CONFIG = {"name": "cnn", "channels": 1, "width": 4, "depth": 2}


class Exploit:
    """Unpickling it makes a file."""

    def __init__(self, victim):
        self.victim = str(victim)

    def __reduce__(self):
        return os.mkdir, (self.victim,)


@pytest.fixture
def version(registry, tmp_path):
    torch.manual_seed(0)
    info = DatasetInfo(28, 1, 0, (), {"train": 1})
    bundle = write_bundle(
        tmp_path / "bundle",
        "restoration",
        Trained(build_restorer(**CONFIG).eval(), CONFIG, 0),
        info,
    )
    run_id = registry.runs.start(MODEL, tmp_path.name, {})
    return registry.register(MODEL, run_id, bundle, {})


def stored(registry, version, name):
    """A file of a registered version, where MLflow keeps it."""
    uri = f"models:/{version}"
    folder = Path(registry._connection.mlflow.artifacts.download_artifacts(artifact_uri=uri))
    return next(folder.rglob(name))


def test_exploits_work_where_somebody_unpickles(tmp_path):
    pickle.loads(pickle.dumps(Exploit(tmp_path / "owned")))
    assert (tmp_path / "owned").exists()


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(registry, version, tmp_path, how):
    weights, victim = stored(registry, version, "weights.safetensors"), tmp_path / "owned"
    if how == "pickle":
        weights.write_bytes(pickle.dumps(Exploit(victim)))
    else:
        torch.save({"body.0.weight": Exploit(victim)}, weights)
    with pytest.raises(
        AtelierError, match=f"{MODEL}/{version.number} can't be loaded: SafetensorError"
    ):
        registry.load(version)
    (reason,) = inspect(f"models:/{version}", [])["failures"]
    assert reason.startswith("can't be loaded: ")
    assert not victim.exists()


def test_a_model_that_was_turned_into_a_pickled_one_is_refused_and_not_run(
    registry, version, tmp_path, monkeypatch
):
    """Whoever can write MLflow's files can't make the loader unpickle.

    Code of the bundle they could change as well.
    """
    monkeypatch.setenv(
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false"
    )  # as project.set_environment does
    victim, recipe = tmp_path / "owned", stored(registry, version, "MLmodel")
    (recipe.parent / "python_model.pkl").write_bytes(pickle.dumps(Exploit(victim)))
    lines = [line for line in recipe.read_text().splitlines() if "model_code_path" not in line]
    at = next(number for number, line in enumerate(lines) if "python_function:" in line)
    lines[at + 1 : at + 1] = [
        "    python_model: python_model.pkl",
        "    cloudpickle_version: 3.1.2",
    ]
    recipe.write_text("\n".join(lines) + "\n")
    with pytest.raises(AtelierError, match="pickle"):
        registry.load(version)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "a b", "..", "<b>", "A", "x;rm", "-o"])
def test_names_that_lead_elsewhere_are_refused_in_params(tmp_path, name):
    text = EXAMPLE_FILE.read_text().replace("  fashion-denoise:", f'  "{name}":')
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match="params.yaml"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "reference", ["../../etc", "fashion-denoise/../1", "models:/x", "' OR 1=1 --"]
)
def test_references_that_lead_elsewhere_are_refused(registry, reference):
    with pytest.raises(UsageError):
        registry.resolve(reference)
