"""Models that are built from versions of others, from the plan to the registered version, with a
real MLflow."""

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from atelier import factory
from atelier.data.splits import SPLITS
from atelier.data.store import DatasetInfo, read_dataset
from atelier.errors import TrainingError, UsageError
from atelier.factory import Factory, training_run
from atelier.factory import train as training_stage
from atelier.factory.evaluate import evaluate
from atelier.factory.fingerprint import training_inputs
from atelier.factory.plan import make_plan, plan_model
from atelier.factory.train import train
from atelier.networks.restorers import build_restorer
from atelier.params import Params
from atelier.params.checks import combination_errors
from atelier.registry import CHAMPION, Registry
from atelier.serving.bundle import write_bundle
from atelier.training.checkpoint import Checkpoints
from atelier.training.extension import draw_images, read_images
from atelier.training.interruption import Stopped
from atelier.training.restoration import train_restorer
from atelier.training.session import Session, Trained
from tests.support.champions import crown
from tests.support.stored import store_pictures
from tests.support.tiny import RECIPES, ignore, tiny_params
from tests.unit.conftest import FASHION

pytestmark = pytest.mark.service

IMAGES = 40
MODELS = {
    "extended": {
        **RECIPES["cnn"],
        "data": {"limit": 32, "extend": {"gan": "gan@champion", "images": IMAGES}},
        "compare_with": "few",
    },
    "refined": {**RECIPES["gan"], "refine": "few"},
    "few": {**RECIPES["cnn"], "data": {"limit": 32}},
    "gan": RECIPES["gan"],
    "classifier": RECIPES["classifier"],
}


def params_of(models=MODELS, **changes):
    raw = tiny_params(models).as_json()
    gates = {
        "classification": "accuracy",
        "gan": "kid_classifier",
        "restoration": "psnr",
        "translation": "psnr",
    }
    raw["promotion"] = {kind: {"metric": metric} for kind, metric in gates.items()}
    raw["datasets"] = {"fashion": FASHION.model_dump(mode="json", exclude_none=True)}
    return Params.model_validate_json(json.dumps({**raw, **changes}))


@pytest.fixture(scope="module")
def params():
    return params_of()


@pytest.fixture(scope="module")
def project(registry, fashion):
    root = registry._connection.project.root
    names, pictures = fashion.info.class_names, []
    for split in SPLITS:
        labels_N = fashion.labels(split)
        pictures += [
            (x_HWC, names[labels_N[i]], split) for i, x_HWC in enumerate(fashion.images(split)[:])
        ]
    store_pictures(root, "fashion", FASHION, pictures, names)
    (root / "data.dvc").write_text(f"outs:\n- md5: {'0' * 32}.dir\n  hash: md5\n  path: data\n")
    return registry._connection.project


def brought_up(project, params, *names):
    """Train, evaluate and judge, as the flow does; returns the scores of the last."""
    scores = {}
    for name in names:
        number = train(Factory.open(project, params), name, "")
        scores = evaluate(Factory.open(project, params), name, number)
        crown(Registry(project), name, number)
    return scores


def stopping_after(steps, monkeypatch):
    """The process that waits for a training dies after so many steps."""
    asked = iter(range(steps))
    monkeypatch.setattr(training_run, "_is_alive", lambda process: next(asked, None) is not None)


def weights_of(registry, version, folder, file="weights.safetensors"):
    return load_file(registry.fetch_bundle(version, folder / str(version).replace("/", "-")) / file)


def assert_equal(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_what_a_model_is_built_from_is_made_first_and_the_plan_says_so(project, params, registry):
    assert combination_errors(params) == []
    items = {item.name: item for item in make_plan(Factory(project, params, registry))}
    assert list(items) == ["fashion", "classifier", "gan", "few", "extended", "refined"]
    assert items["extended"].reasons[-1] == "source: gan will be trained first"
    assert items["refined"].reasons[-1] == "source: few will be trained first"
    asked = [item.name for item in make_plan(Factory(project, params, registry), ["extended"])]
    assert asked == ["fashion", "classifier", "gan", "few", "extended"]


def test_without_a_champion_it_can_not_be_trained(project, params, registry):
    brought_up(project, params, "classifier", "few")
    reason = "source: models.extended is built from gan@champion: no model 'gan' is registered."
    item = plan_model(Factory(project, params, registry), "extended")
    assert (item.action, item.reasons[0].startswith(reason)) == ("train", True)
    with pytest.raises(
        UsageError,
        match=r"models.extended is built from gan@champion: no model 'gan' is registered",
    ):
        train(Factory.open(project, params), "extended", "")
    train(Factory.open(project, params), "gan", "")  # not judged yet
    with pytest.raises(
        UsageError, match=r"built from gan@champion: gan has no champion; its aliases: challenger"
    ):
        train(Factory.open(project, params), "extended", "")


@pytest.mark.parametrize("reference", ["gam", "gan/9"])
def test_what_nothing_will_make_is_refused_before_anything_runs(project, registry, reference):
    params = params_of({**MODELS, "extended": {**RECIPES["cnn"], "data": {"extend": reference}}})
    with pytest.raises(
        UsageError,
        match=f"models.extended is built from {reference}: (no model 'gam'|gan has no ver)",
    ):
        make_plan(Factory(project, params, registry))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("few/1", "few/1 is a restoration model. Name a GAN."),
        ("other-gan/1", "other-gan/1 learnt .*, not fashion:"),
    ],
)
def test_what_is_registered_but_does_not_fit_is_refused(
    project, registry, params, tmp_path, reference, message
):
    if (
        reference == "other-gan/1"
    ):  # of another dataset, whose training images may be test images here
        gan = registry.version("gan", 1)
        run_id = registry.runs.start("other-gan", "print", {})
        registry.runs.log_files(
            run_id, "", {"fingerprint.json": json.dumps({"data": {"clothes": "d0"}})}
        )
        registry.register("other-gan", run_id, registry.fetch_bundle(gan, tmp_path / "bundle"), {})
    changed = {**RECIPES["cnn"], "data": {"extend": reference}}
    with pytest.raises(TrainingError, match=f"models.extended.data.extend: {message}"):
        train(Factory.open(project, params_of({"extended": changed})), "extended", "")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("classifier/1", "is a classification model. Name a restorer"),
        ("double/1", "would enlarge the images 2 times"),
        ("colour/1", "restores images of 3 channels, those of fashion have 1. Name another"),
    ],
)
def test_what_can_not_refine_is_refused_before_the_gan_is_trained(
    project, registry, tmp_path, reference, message
):
    name = reference.removesuffix("/1")
    if name != "classifier":
        channels, upscale = (3, 1) if name == "colour" else (1, 2)
        config = {"name": "cnn", "width": 4, "depth": 2, "channels": channels, "upscale": upscale}
        info = DatasetInfo(28, channels, 0, (), {})
        made = Trained(build_restorer(**config), config, 0)
        bundle = write_bundle(tmp_path / "bundle", "restoration", made, info)
        registry.register(name, registry.runs.start(name, "print", {}), bundle, {})
    changed = {**RECIPES["gan"], "refine": reference}
    with pytest.raises(TrainingError, match=f"models.mistaken.refine: {reference} {message}"):
        train(Factory.open(project, params_of({"mistaken": changed})), "mistaken", "")
    assert not list(project.cache.glob("checkpoints/mistaken/*"))


@pytest.mark.parametrize("step", ["_log_inputs", "begin_card", "draw_extension"])
def test_a_signal_in_the_preparations_is_obeyed_before_the_training(
    project, params, registry, monkeypatch, step
):
    train(Factory.open(project, params), "gan", "")
    original = getattr(training_stage, step)

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(training_stage, step, interrupted)
    monkeypatch.setattr(
        training_stage, "run_training", lambda *_: pytest.fail("the training began")
    )
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    changed = {**RECIPES["cnn"], "data": {"extend": {"gan": "gan/1", "images": IMAGES}}}
    asked = params_of({**MODELS, "interrupted": changed})
    try:
        with pytest.raises(Stopped):
            train(Factory.open(project, asked), "interrupted", "")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]  # whoever was in charge before is told
    assert not list(project.cache.glob("checkpoints/interrupted/*/generated.bin"))
    client = registry._connection.client
    (run,) = client.search_runs([registry.runs.experiment("interrupted")])
    assert run.info.status == "KILLED"


def test_an_interrupted_extended_training_ends_bit_identical(
    project, params, registry, monkeypatch, tmp_path
):
    brought_up(project, params, "gan")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stopping_after(5, patch)
        train(Factory.open(project, params), "extended", "")
    (file,) = project.cache.glob("checkpoints/extended/*/generated.bin")
    assert list(file.parent.glob("checkpoint-*.pt"))
    assert file.stat().st_size == IMAGES * 28 * 28
    kept, dataset = file.read_bytes(), read_dataset(project.root, "fashion")
    # Whether it is still there or drawn again: the same version gives the same images.
    file.unlink()

    brought_up(project, params, "extended")
    (version,) = registry.versions("extended")
    assert not file.exists() and not list(file.parent.iterdir())

    served = registry.load(registry.version("gan", 1)).unwrap_python_model()
    draw_images(
        lambda count, seed: served.predict(
            None, pd.DataFrame({"num_images": [count], "seed": [seed]})
        ),
        (IMAGES, 28, 28, 1),
        params.seed,
        tmp_path / "generated.bin",
    )
    assert (tmp_path / "generated.bin").read_bytes() == kept
    drawn = read_images(tmp_path / "generated.bin", dataset.info)
    checkpoints = Checkpoints(tmp_path, "whole")
    session = Session(
        torch.device("cpu"), params.seed, checkpoints, ignore, ignore, generated_GHWC=drawn
    )
    whole = train_restorer(params.models["extended"], dataset, session).network.state_dict()
    assert_equal(weights_of(registry, version, tmp_path), whole)


def test_lineage_is_kept_with_the_version_and_its_run(params, registry):
    (version,) = registry.versions("extended")
    assert version.tags["built.from"] == "gan/1"
    run = registry._client.get_run(version.run_id)
    assert (run.data.tags["built.from"], run.data.params["generated_images"]) == (
        "gan/1",
        str(IMAGES),
    )
    assert registry.runs.read_json(version.run_id, "fingerprint.json")["source"] == "gan/1"
    assert "built.from" not in registry.version("few", 1).tags


def test_an_evaluation_says_whether_the_generated_images_helped(project, params, registry):
    (version,) = registry.versions("extended")
    scores = registry.scores(version)
    difference = (
        scores["psnr"]["value"] - registry.scores(registry.version("few", 1))["psnr"]["value"]
    )
    assert scores["psnr_difference"]["value"] == pytest.approx(difference, abs=1e-6)
    assert scores["psnr_difference"]["low"] < difference < scores["psnr_difference"]["high"]
    assert (
        registry.runs.read_json(version.run_id, "evaluation/fingerprint.json")["compared"]
        == "few/1"
    )
    item = plan_model(Factory(project, params, registry), "extended", frozenset(["few"]))
    assert (item.action, item.reasons) == ("evaluate", ("evaluation: few will be trained first",))


def test_a_gan_draws_through_its_restorer_and_is_scored_with_and_without(
    project, params, registry, tmp_path
):
    scores = brought_up(project, params, "refined")
    (version,) = registry.versions("refined")
    assert version.tags["built.from"] == "few/1"
    served = registry.load(version).unwrap_python_model()
    assert served.config["refiner"]["version"] == "few/1"
    few = registry.load(registry.version("few", 1)).unwrap_python_model()
    request = pd.DataFrame({"num_images": [20], "seed": [3]})
    raw_NCHW, refined_NCHW = (
        served.predict(None, request.assign(refined=0)),
        served.predict(None, request),
    )
    np.testing.assert_allclose(refined_NCHW, few.predict(None, raw_NCHW), atol=1e-6)
    assert np.abs(refined_NCHW - raw_NCHW).max() > 0.01
    plain, refined = (
        weights_of(registry, registry.version(name, 1), tmp_path) for name in ("gan", "refined")
    )
    assert_equal(refined, plain)  # what draws doesn't know that it is refined

    table = pd.read_csv(
        registry._client.download_artifacts(version.run_id, "evaluation/scores.csv", str(tmp_path))
    )
    kid = table[table.metric == "kid_classifier"].set_index("subject").value
    assert sorted(kid.index) == ["floor:real training images", "model", "unrefined"]
    assert scores["kid_classifier_difference"] == pytest.approx(kid["model"] - kid["unrefined"])
    assert set(table[table.subject == "unrefined"].metric) == {*scores} - {
        "kid_classifier_difference"
    }


def test_how_a_gan_is_drawn_from_is_scored_beside_what_it_draws_by_itself(
    project, params, registry, tmp_path
):
    version = registry.version("refined", 1)
    raw = registry.scores(version)
    changed = {**MODELS["refined"], "sampling": {"spread": 1.2, "confidence": 0.2}}
    again = params_of({**MODELS, "refined": changed})
    item = plan_model(Factory(project, again, registry), "refined")
    assert (item.action, len(item.reasons)) == ("evaluate", 2)
    evaluate(Factory.open(project, again), "refined", 1)
    assert registry.scores(version) == raw  # what the gate judges
    table = registry.runs.read_table(version.run_id, "evaluation/scores.csv")
    sampled = table[table.subject == "sampled"].set_index("metric")
    assert {*sampled.index} == {*raw}
    assert (
        "latents * 1.2, drawn again below a probability of 0.2 for the class by classifier/1"
        in sampled.protocol["cas"]
    )
    own = table[table.subject == "model"].set_index("metric").value
    assert sampled.value["is_classifier"] != own["is_classifier"]
    evaluate(Factory.open(project, params), "refined", 1)
    table = registry.runs.read_table(version.run_id, "evaluation/scores.csv")
    assert "sampled" not in set(table.subject)


def test_another_champion_makes_what_was_built_from_it_stale(project, params, registry):
    for name in ("extended", "refined"):
        assert plan_model(Factory(project, params, registry), name).state == "fresh"
    pinned = {
        **MODELS["extended"],
        "data": {"limit": 32, "extend": {"gan": "gan/1", "images": IMAGES}},
    }
    again = params_of({**MODELS, "extended": pinned})
    slower = {**MODELS, "gan": {**RECIPES["gan"], "r1_gamma": 2.0}}
    number = train(Factory.open(project, params_of(slower)), "gan", "")
    # Its champion is the old one yet.
    assert plan_model(Factory(project, params, registry), "extended").state == "fresh"
    registry.set_alias("gan", CHAMPION, number)
    item = plan_model(Factory(project, params, registry), "extended")
    assert (item.state, item.action, item.reasons) == (
        "stale",
        "train",
        ("source: gan/1 -> gan/2",),
    )
    assert (
        plan_model(Factory(project, again, registry), "extended").state == "fresh"
    )  # by its number it is what it was
    assert plan_model(Factory(project, params, registry), "refined").state == "fresh"
    registry.set_alias("gan", CHAMPION, 1)
    assert plan_model(Factory(project, params, registry), "extended").state == "fresh"


def test_how_it_is_called_is_no_part_of_a_training_but_the_version_is(params):
    pinned = {
        **MODELS["extended"],
        "data": {"limit": 32, "extend": {"gan": "gan/1", "images": IMAGES}},
    }
    pinned = params_of({**MODELS, "extended": {**pinned, "compare_with": "few"}})
    inputs = [
        training_inputs(given, "extended", {"fashion": "d0"}, "gan/1") for given in (params, pinned)
    ]
    assert inputs[0] == inputs[1] != training_inputs(params, "extended", {"fashion": "d0"}, "gan/2")
    assert inputs[0]["params"]["data"] == {"limit": 32, "extend": {"images": IMAGES}}


def test_a_gan_of_images_of_another_size_is_refused(project, params, registry, monkeypatch):
    real = registry.load(registry.version("gan", 1)).unwrap_python_model().config
    info = read_dataset(project.root, "fashion").info
    assert (real["image_size"], real["channels"]) == (info.image_size, info.channels)
    monkeypatch.setattr(factory, "dataset_digest", lambda root, name: "stored anew")
    larger = params_of({"bigger": {**RECIPES["cnn"], "data": {"extend": "gan/1"}}})

    def stored_anew(root, name):
        dataset = read_dataset(root, name)
        return type(dataset)(
            **{**vars(dataset), "info": type(info)(**{**vars(info), "image_size": 32})}
        )

    monkeypatch.setattr(factory, "read_dataset", stored_anew)
    with pytest.raises(
        TrainingError, match="gan/1 draws squares of 28 pixels in 1 channels, the images of fashion"
    ):
        train(Factory.open(project, larger), "bigger", "")
