"""A restorer of really damaged pictures, from the plan to the verdict, with two datasets and a real
MLflow."""

import json

import numpy as np
import pytest

from atelier import factory
from atelier.factory import Factory
from atelier.factory.evaluate import evaluate
from atelier.factory.fingerprint import uses_extractor
from atelier.factory.plan import make_plan, plan_model
from atelier.factory.train import train
from atelier.params import Params
from atelier.params.checks import combination_errors
from atelier.params.measures import distances
from atelier.registry import CHAMPION
from tests.support.champions import crown
from tests.support.stored import store_pictures
from tests.support.tiny import RECIPES, TRANSLATION, tiny_params
from tests.unit.conftest import FASHION

pytestmark = pytest.mark.service

MODELS = {
    "classifier": RECIPES["classifier"],
    "repair": {key: value for key, value in TRANSLATION.items() if key != "degradation"}
    | {"damaged": "scans"},
}


@pytest.fixture(scope="module")
def params():
    raw = tiny_params(MODELS).as_json()
    dataset = FASHION.model_dump(mode="json", exclude_none=True)
    promotion = {kind: {"metric": "kid_classifier"} for kind in ("gan", "translation")} | {
        "classification": {"metric": "accuracy"},
        "restoration": {"metric": "psnr"},
    }
    raw |= {"datasets": {"fashion": dataset, "scans": dataset}, "promotion": promotion}
    return Params.model_validate_json(json.dumps(raw))


@pytest.fixture(scope="module")
def project(registry, fashion):
    """Clean pictures, and others that are half as bright."""
    root = registry._connection.project.root
    clean, dark = [], []
    for split in ("train", "validation", "test"):
        labels_N = fashion.labels(split)
        for i, x_HWC in enumerate(fashion.images(split)[:]):
            if i % 2:
                dark.append((x_HWC // 2, "", split))
            else:
                clean.append((x_HWC, fashion.info.class_names[labels_N[i]], split))
    store_pictures(root, "fashion", FASHION, clean, fashion.info.class_names)
    store_pictures(root, "scans", FASHION, dark)
    (root / "data.dvc").write_text(f"outs:\n- md5: {'0' * 32}.dir\n  hash: md5\n  path: data\n")
    return registry._connection.project


def test_it_is_trained_on_both_datasets_scored_without_originals_and_judged(
    project, params, registry
):
    assert combination_errors(params) == []
    assert uses_extractor(params, "repair")
    planned = make_plan(Factory(project, params, registry), ["repair"])
    assert [item.name for item in planned] == ["fashion", "scans", "classifier", "repair"]
    for name in MODELS:
        number = train(Factory.open(project, params), name, "")
        scores = evaluate(Factory.open(project, params), name, number)
        crown(registry, name, number)
    assert list(scores) == distances("classifier")
    version = registry.version_at("repair", CHAMPION)
    fingerprint = registry.runs.read_json(version.run_id, "fingerprint.json")
    assert sorted(fingerprint["data"]) == ["fashion", "scans"]
    assert sorted(
        registry.runs.read_json(version.run_id, "evaluation/fingerprint.json")["data"]
    ) == [
        "fashion",
        "scans",
    ]

    served = registry.load(version).unwrap_python_model()
    assert (
        served.config["kind"] == "restoration"
    )  # so every command and signature of a restorer is its own
    y_NCHW = np.random.default_rng(0).random((2, 1, 37, 31), np.float32)
    assert served.predict(None, y_NCHW).shape == y_NCHW.shape


def test_new_damaged_pictures_make_it_stale_alone(project, params, registry, monkeypatch):
    states = {name: plan_model(Factory(project, params, registry), name).state for name in MODELS}
    assert states == {"classifier": "fresh", "repair": "fresh"}
    assert plan_model(
        Factory(project, params, registry), "repair", frozenset(["scans"])
    ).reasons == ("data: scans will be ingested first",)
    real = factory.dataset_digest
    monkeypatch.setattr(
        factory,
        "dataset_digest",
        lambda root, name: "other" if name == "scans" else real(root, name),
    )
    (reason,) = plan_model(Factory(project, params, registry), "repair").reasons
    assert reason.startswith("data: scans changed")
    assert plan_model(Factory(project, params, registry), "classifier").state == "fresh"
