"""A GAN scored by other extractors, from the plan to the verdict, with a real MLflow."""

import hashlib
import json

import pytest
import torch

from atelier.errors import EvaluationError, RemoteError, UsageError
from atelier.factory import Factory, scoring
from atelier.factory.evaluate import evaluate
from atelier.factory.plan import make_plan, plan_model
from atelier.factory.train import train
from atelier.params import Params
from atelier.params.checks import combination_errors
from atelier.params.measures import metrics
from atelier.registry import CHAMPION
from tests.support.champions import crown
from tests.support.stored import store_pictures
from tests.support.tiny import EVALUATION, RECIPES, tiny_params
from tests.unit.conftest import FASHION
from tests.unit.evaluation.test_extractors import StandIn

pytestmark = pytest.mark.service

MODELS = {name: RECIPES[name] for name in ("gan", "classifier")}


def params_of(gate="kid_classifier", **evaluation):
    raw = tiny_params(MODELS).as_json()
    gates = {
        "classification": "accuracy",
        "gan": gate,
        "restoration": "psnr",
        "translation": "psnr",
    }
    changed = {
        "datasets": {"fashion": FASHION.model_dump(mode="json", exclude_none=True)},
        "promotion": {kind: {"metric": metric} for kind, metric in gates.items()},
        "evaluation": {**EVALUATION, **evaluation},
    }
    params = Params.model_validate_json(json.dumps({**raw, **changed}))
    assert combination_errors(params) == []
    return params


@pytest.fixture(scope="module")
def project(registry, fashion):
    root = registry._connection.project.root
    names, pictures = fashion.info.class_names, []
    for split in ("train", "validation", "test"):
        labels_N = fashion.labels(split)
        pictures += [
            (x_HWC, names[labels_N[i]], split) for i, x_HWC in enumerate(fashion.images(split)[:])
        ]
    store_pictures(root, "fashion", FASHION, pictures, names)
    (root / "data.dvc").write_text(f"outs:\n- md5: {'0' * 32}.dir\n  hash: md5\n  path: data\n")
    project = registry._connection.project
    for name in ("classifier", "gan"):
        number = train(Factory.open(project, params_of()), name, "")
        evaluate(Factory.open(project, params_of()), name, number)
        crown(registry, name, number)
    return project


@pytest.fixture(scope="module")
def inception(project):
    """Parameters that name a scripted stand-in for FID's Inception, below the project."""
    path = project.root / "weights" / "inception.pt"
    path.parent.mkdir()
    torch.jit.script(StandIn()).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return params_of(
        "kid_inception",
        features="inception",
        inception={"path": "weights/inception.pt", "sha256": sha256},
    )


def test_the_champion_scores_and_features_of_real_images_are_kept(project, registry):
    version = registry.version_at("gan", CHAMPION)
    assert (
        registry.runs.read_json(version.run_id, "evaluation/fingerprint.json")["extractor"]
        == "classifier/1"
    )
    assert sorted(registry.scores(version)) == sorted(metrics("gan", "classifier"))
    (code,) = (project.cache / "features").iterdir()
    assert len(list(code.iterdir())) == 2  # test and training images


def test_the_same_version_by_its_number_is_no_other_evaluation(project, registry):
    pinned = params_of(features="classifier:classifier/1")
    assert plan_model(Factory(project, pinned, registry), "gan").state == "fresh"
    assert [item.name for item in make_plan(Factory(project, pinned, registry), ["gan"])] == [
        "fashion",
        "gan",
    ]
    waiting = plan_model(Factory(project, params_of(), registry), "gan", frozenset(["classifier"]))
    assert waiting.reasons == ("evaluation: classifier will be trained first",)
    assert (
        plan_model(Factory(project, pinned, registry), "gan", frozenset(["classifier"])).state
        == "fresh"
    )


def test_a_version_that_is_not_there_is_refused_before_anything_runs(project, registry):
    with pytest.raises(
        UsageError,
        match="evaluation.features = classifier:classifier/9: classifier has no version 9",
    ):
        make_plan(Factory(project, params_of(features="classifier:classifier/9"), registry))


def test_the_weights_of_fid_score_anew_and_their_score_is_called_fid(project, registry, inception):
    reasons = " ".join(plan_model(Factory(project, inception, registry), "gan").reasons)
    assert (
        f"extractor: classifier/1 -> inception-{inception.evaluation.inception.sha256[:12]}"
        in reasons
    )
    assert [item.name for item in make_plan(Factory(project, inception, registry), ["gan"])] == [
        "fashion",
        "gan",
    ]
    scores = evaluate(Factory.open(project, inception), "gan", 1)
    assert set(metrics("gan", "inception")) <= set(scores) and scores["fid"] > 0
    assert plan_model(Factory(project, inception, registry), "gan").state == "fresh"
    assert plan_model(Factory(project, params_of(), registry), "gan").state == "stale"
    (code,) = (project.cache / "features").iterdir()
    assert len(list(code.iterdir())) == 4


def test_weights_that_are_missing_or_cant_be_fetched_are_told_with_what_to_do(
    project, inception, monkeypatch
):
    missing = params_of(
        "kid_inception",
        features="inception",
        inception={"path": "weights/other.pt", "sha256": "0" * 64},
    )
    with pytest.raises(EvaluationError, match=r"weights/other.pt can't be read: No such file"):
        evaluate(Factory.open(project, missing), "gan", 1)
    monkeypatch.setattr(scoring, "INCEPTION_ADDRESS", "https://localhost:9/inception-2015-12-05.pt")
    with pytest.raises(
        RemoteError,
        match="can't be fetched.*Or name a copy of the file in evaluation.inception.path",
    ):
        evaluate(Factory.open(project, params_of("kid_inception", features="inception")), "gan", 1)
