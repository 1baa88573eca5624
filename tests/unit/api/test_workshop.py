"""A project from Python: pictures, networks, history, as a notebook asks for them."""

import os
import runpy
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

import atelier
from atelier.data.store import DatasetInfo, read_dataset
from atelier.errors import DataError, UsageError
from atelier.metrics.intervals import Score
from atelier.networks.restorers import build_restorer
from atelier.project import Project
from atelier.registry import CHAMPION, Registry
from atelier.service.sightings import Sightings
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained
from tests.support.places import REPOSITORY
from tests.support.stored import store_pictures
from tests.support.tiny import randomised
from tests.unit.conftest import FASHION

pytestmark = pytest.mark.service

COLUMNS = ["metric", "slice", "subject", "value"]
CONFIG = {"name": "cnn", "channels": 1, "width": 4, "depth": 2}


@pytest.fixture(scope="module")
def root(fashion, migrated_database, tmp_path_factory):
    """A project with pictures and two versions of a restorer, of which the second is champion."""
    root = tmp_path_factory.mktemp("workshop") / "project"
    root.mkdir()
    (root / "params.yaml").write_text("seed: 7\n")
    images = fashion.images("test")
    labels = fashion.labels("test")
    names = fashion.info.class_names
    pictures = [(images[i], names[labels[i]], "test" if i % 2 else "train") for i in range(80)]
    store_pictures(root, "fashion", FASHION, pictures, names)
    shutil.copy(migrated_database, root / "mlflow.db")
    with environment(root):
        registry = Registry(Project(root))
        info = DatasetInfo(28, 1, 0, (), {"train": 1})
        for number in (1, 2):
            network = randomised(build_restorer(**CONFIG))
            for weight in network.parameters():
                weight.data.mul_(number)
            bundle = write_bundle(
                root / f"bundle-{number}", "restoration", Trained(network, CONFIG, 0), info
            )
            run_id = registry.runs.start("denoise", f"fingerprint {number}", {})
            registry.runs.log_scores(run_id, {"psnr": Score(20.0 + number, 19.0, 24.0, 9, "all")})
            table = pd.DataFrame([["psnr", "all", "model", 20.0 + number]], columns=COLUMNS)
            registry.runs.log_files(run_id, "evaluation", {"scores.csv": table})
            registry.runs.end(run_id, "FINISHED")
            registry.register("denoise", run_id, bundle, {})
        registry.set_alias("denoise", CHAMPION, 2)
    return root


class environment:
    """MLflow at a project's database for a while."""

    def __init__(self, root):
        self._uri = f"sqlite:///{root / 'mlflow.db'}"

    def __enter__(self):
        self._before = os.environ.get("MLFLOW_TRACKING_URI")
        os.environ["MLFLOW_TRACKING_URI"] = self._uri

    def __exit__(self, *error):
        os.environ.pop("MLFLOW_TRACKING_URI")
        if self._before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = self._before


@pytest.fixture
def workshop(root, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return atelier.open(root / "data")  # from any folder inside


def test_a_split_is_a_dataset_of_torch(workshop, root):
    stored = read_dataset(root, "fashion")
    pictures = workshop.dataset("fashion", "test")
    assert len(pictures) == 40 and pictures.class_names == stored.info.class_names
    x_CHW, label = pictures[3]
    assert x_CHW.shape == (1, 28, 28) and x_CHW.dtype == torch.float32
    expected = stored.images("test")[3].transpose(2, 0, 1) / np.float32(255)
    assert np.array_equal(x_CHW.numpy(), expected.astype(np.float32))
    assert label == stored.labels("test")[3]
    x_BCHW, labels_B = next(iter(DataLoader(pictures, batch_size=8)))
    assert x_BCHW.shape == (8, 1, 28, 28) and labels_B.shape == (8,)
    assert pictures[-1][1] == pictures[39][1]
    with pytest.raises(IndexError):
        pictures[40]


def test_a_model_is_a_torch_module_by_any_of_its_names(workshop):
    assert workshop.models == ["denoise"]
    x_BCHW = torch.rand(2, 1, 28, 28)
    answers = [workshop.model(name)(x_BCHW) for name in ("denoise", "denoise/2", "denoise/1")]
    assert torch.equal(answers[0], answers[1]) and not torch.equal(answers[0], answers[2])
    served = workshop.pyfunc("denoise").predict(x_BCHW.numpy())
    assert np.allclose(served, answers[0].detach().clamp(0, 1).numpy(), atol=1e-6)


def test_the_history_is_a_frame(workshop):
    history = workshop.history()
    assert list(history["version"]) == [1, 2] and list(history["psnr"]) == [21.0, 22.0]
    assert "champion" in history["aliases"][1]
    assert history["psnr.low"].tolist() == [19.0, 19.0]
    assert workshop.scores("denoise/1")["value"].tolist() == [21.0]


def test_the_example_runs(root, monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "argv", ["notebook.py", str(root)])
    runpy.run_path(str(REPOSITORY / "examples" / "notebook.py"))
    assert "denoise {'model': 22.0}" in capsys.readouterr().out


def test_a_second_project_is_another_registry(workshop, tmp_path, migrated_database):
    (tmp_path / "params.yaml").write_text("seed: 7\n")
    shutil.copy(migrated_database, tmp_path / "mlflow.db")
    assert atelier.open(tmp_path).models == []
    assert workshop.models == ["denoise"]


def test_what_is_not_there_is_told(workshop, tmp_path):
    with pytest.raises(UsageError, match="is not in a project"):
        atelier.open(tmp_path)
    with pytest.raises(DataError):
        workshop.dataset("gone")
    with pytest.raises(UsageError, match="no model 'denoize' is registered"):
        workshop.model("denoize")
    with pytest.raises(AttributeError, match="no attribute 'close'"):
        atelier.close  # noqa: B018


def test_what_the_service_was_asked_is_a_table(root):
    sightings = Sightings(root / ".atelier" / "requests", 1.0)
    picture = np.full((1, 1, 8, 9), 0.5, np.float32)
    for version in (1, 2):
        sightings.note("denoise", {"version": version}, picture, picture)
    sightings.close()
    table = atelier.open(root).requests("denoise")
    assert list(table["version"]) == [1, 2]
    assert list(table["width"]) == [9, 9]
    assert list(table["mean"]) == [0.5, 0.5]
    assert atelier.open(root).requests("nobody").empty
