import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from atelier.params import load_params
from atelier.registry import CHALLENGER, CHAMPION
from atelier.registry.versions import OURS
from atelier.review.report import gather
from atelier.review.report.gathering import choose_lines
from atelier.review.report.thumbnails import MAIN, Thumbnails, shrink
from benchmarks.report_speed import REASON, make_history
from tests.support.histories import line_of
from tests.unit.promotion.test_promotion import EXAMPLE

pytestmark = pytest.mark.service

MODEL = "fashion-denoise"


@pytest.fixture(scope="module")
def params():
    return load_params(EXAMPLE)


@pytest.fixture(scope="module")
def filled(registry, params):
    """Twenty runs of four models, two of which failed."""
    make_history(registry, params, 20)
    return registry


def model_named(history, name):
    return next(model for model in history.models if model.name == name)


def png_of(height, width):
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)).save(
        target, "PNG"
    )
    return target.getvalue()


def test_every_model_has_its_versions_scores_decisions_and_pictures(filled, params):
    history = gather(filled, params)
    assert [model.name for model in history.models] == list(params.models)
    for model in history.models:
        assert [line.version for line in model.lines] == filled.versions(model.name)
        for line in model.lines:
            assert line.score == filled.scores(line.version)[model.metric]
            assert [verdict.action for verdict in line.verdicts] in (["promoted"], ["kept"])
            assert line.was_champion == (line.verdicts[0].action == "promoted")
            assert line.run.metrics["minutes"] == 12.5
        assert model.champion.version == filled.version_at(model.name, CHAMPION)
        assert len(model.pictures) >= 1 and model.champion in [line for line, _ in model.pictures]
    assert model_named(history, "fashion-gan").metric == "kid_classifier"
    assert [model.better for model in history.models] == ["higher", "lower", "higher", "higher"]
    assert history.minutes == 20 * 12.5 and history.num_runs == 20
    assert history.problems == ()


def test_failures_come_newest_first_with_what_was_noted(filled, params):
    failures = gather(filled, params).failures
    assert [run.status for _, run in failures] == ["FAILED", "FAILED"]
    assert all(REASON in run.notes for _, run in failures)
    assert failures[0][1].started >= failures[1][1].started
    assert {name for name, _ in failures} <= set(params.models)


def test_a_model_s_state_says_what_somebody_should_look_at(filled, params):
    filled.set_alias(MODEL, CHAMPION, 1)
    newest = filled.versions(MODEL)[-1]
    filled.tag(newest, {"verdict": "waiting"})
    run_id = filled.runs.start(MODEL, "open", {})
    model = model_named(gather(filled, params), MODEL)
    said = filled.ledger.entries(MODEL)[-1].decision.champion
    assert (
        model.warnings[0]
        == f"champion of {MODEL} was moved by hand: it is 1, the ledger says {said}"
    )
    assert model.remarks[0] == f"version {newest.number} waits for approval"
    assert model.remarks[1].startswith("a training is open since 20")
    filled.runs.end(run_id, "KILLED")
    filled.delete_alias(MODEL, CHAMPION)
    warnings = model_named(gather(filled, params), MODEL).warnings
    assert "no version is champion" in warnings
    assert warnings[-1] == "newest training KILLED, see Failures"
    filled._client.delete_run(newest.run_id)
    model = model_named(gather(filled, params), MODEL)
    assert model.warnings[-1] == f"MLflow has the run of version {newest.number} no more"
    assert model.lines[-1].score is None
    filled._client.restore_run(newest.run_id)
    filled.set_alias(MODEL, CHAMPION, said)


def test_a_model_is_told_of_that_is_only_wanted_or_only_registered(filled, params):
    changed = params.model_copy(update={"models": {"another": params.models[MODEL]}})
    first, *others = gather(filled, changed).models
    assert (first.name, first.lines, first.remarks) == ("another", (), ("no version yet",))
    assert {model.name: model.kind for model in others} == {
        name: model.kind for name, model in params.models.items()
    }
    assert all("not in params.yaml" in model.remarks for model in others)


def test_a_metric_that_no_version_has_gives_way_to_one_that_they_have(filled, params):
    gate = params.promotion.restoration.model_copy(update={"metric": "lpips"})
    changed = params.model_copy(
        update={"promotion": params.promotion.model_copy(update={"restoration": gate})}
    )
    assert model_named(gather(filled, changed), MODEL).metric == "psnr"


def test_scores_on_another_version_of_the_data_are_not_comparable_and_a_score_must_be_finite(
    filled, params
):
    versions = filled.versions("fashion-inpaint")
    for version, md5 in zip(versions, ("old.dir", *["new.dir"] * len(versions)), strict=False):
        filled.tag(
            version, {"evaluation.fingerprint": str(version), f"evaluated.{md5}": str(version)}
        )
    log = filled.run_log(versions[1].run_id)
    log.metrics(1, {"test/psnr": float("nan")})
    log.flush()
    lines = model_named(gather(filled, params), "fashion-inpaint").lines
    assert [line.comparable for line in lines] == [False] + [True] * (len(lines) - 1)
    assert lines[1].score is None and lines[2].score is not None


@pytest.mark.parametrize(
    ("stored", "told"), [('["a", "b"]', ("a", "b")), ('"ab"', ('"ab"',)), ("{", ("{",))]
)
def test_without_a_ledger_the_tags_tell_the_verdict_whatever_somebody_wrote_there(
    filled, params, stored, told
):
    name = "unledgered"
    if name not in filled.model_names():
        filled._client.create_registered_model(name, tags=OURS)
        filled._client.create_model_version(
            name, "runs:/x/model", filled.runs.start(name, name, {})
        )
    (version,) = filled.versions(name)
    filled.tag(version, {"verdict": "kept", "verdict.reasons": stored})
    (line,) = model_named(gather(filled, params), name).lines
    assert [(verdict.action, verdict.reasons) for verdict in line.verdicts] == [("kept", told)]
    assert json.loads(json.dumps(line.verdicts[0].who)) == ""


# -- pictures ----------------------------------------------------------------------------------


def test_the_champions_and_the_challenger_are_shown_in_order_and_no_more_than_the_limit():
    lines = [line_of(number, 20.0, was_champion=number % 2 == 1) for number in range(1, 12)]
    lines[6] = line_of(7, 20.0, aliases=(CHAMPION,))
    lines.append(line_of(12, 20.0))
    assert [line.version.number for line in choose_lines(lines, 6)] == [3, 5, 7, 9, 11, 12]
    assert [line.version.number for line in choose_lines(lines, 2)] == [7, 12]
    lines[3] = line_of(4, 20.0, aliases=(CHALLENGER,))
    assert [line.version.number for line in choose_lines(lines, 2)] == [4, 7]
    assert choose_lines([], 6) == []


def test_pictures_are_reduced_by_a_whole_factor():
    for size, expected in (
        ((234, 582), (291, 117)),
        ((28, 31), (31, 28)),
        ((3000, 1000), (100, 300)),
    ):
        small = shrink(png_of(*size))
        assert (small.width, small.height) == expected
        content = base64.b64decode(small.uri.removeprefix("data:image/webp;base64,"))
        assert Image.open(io.BytesIO(content)).size == expected


def test_a_damaged_picture_is_left_out():
    assert shrink(b"no picture") is None
    assert shrink(png_of(40, 40)[:200]) is None


def test_many_models_share_the_pictures_and_each_has_two(filled):
    assert [Thumbnails(filled, count).limit for count in (0, 1, 20, 30, 1000)] == [6, 6, 6, 4, 2]


def test_after_a_picture_that_can_not_be_fetched_none_is_asked_for_and_that_is_said_once(
    filled, params
):
    champion = filled.version_at("fashion-classifier", CHAMPION)
    path = (
        filled.project.root
        / "mlruns"
        / champion.run_id
        / "artifacts"
        / "evaluation"
        / MAIN["classification"]
    )
    png = path.read_bytes()
    path.unlink()
    (path / "not a picture").mkdir(parents=True)
    try:
        history = gather(filled, params)
    finally:
        shutil.rmtree(path)
        path.write_bytes(png)
    assert all(
        line.version.model == "fashion-classifier"
        for model in history.models
        for line, _ in model.pictures
    )
    assert len(history.models) >= 4
    (problem,) = history.problems
    assert problem.startswith("pictures are missing: the registry at sqlite")


def test_each_kind_of_model_has_a_picture(params):
    assert {model.kind for model in params.models.values()} <= set(MAIN)
