import getpass
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atelier import stages
from atelier.bundle import write_bundle
from atelier.data.store import DatasetInfo
from atelier.errors import RegistryError, UsageError
from atelier.gate import Verdict, floor_failures, judge, move_champion, promote_by_hand, record, rollback
from atelier.metrics.intervals import Score
from atelier.networks.restorers import build_restorer
from atelier.params import Gate, load_params
from atelier.project import Project
from atelier.registry import CHALLENGER, CHAMPION, PREVIOUS
from atelier.training.session import Trained

pytestmark = pytest.mark.filterwarnings("ignore:.*type hint")  # MLflow's, of the served model's predict

PSNR = Gate(metric="psnr", floors={"psnr_gain": 0.0})
KID = Gate(metric="kid_classifier", floors={"cas": 0.5, "fd_classifier": 30})
NAN = {"value": math.nan, "low": math.nan, "high": math.nan}


def score(low, value, high):
    return {"value": value, "low": low, "high": high}


def restorer(low, value, high, gain=1.0):
    return {"psnr": score(low, value, high), "psnr_gain": score(gain, gain, gain)}


def generator(low, value, high, cas=0.8, fd=10.0):
    return {"kid_classifier": score(low, value, high), "cas": score(cas, cas, cas), "fd_classifier": score(fd, fd, fd)}


# -- the decision ----------------------------------------------------------------------------------------------------


def test_the_first_version_is_promoted_if_the_floors_hold():
    verdict = judge(PSNR, restorer(24, 25, 26), None)
    assert verdict == Verdict("promoted", ("first version; all floors hold; psnr 25 [24, 26]",))


def test_a_floor_that_does_not_hold_rejects_even_the_first_version():
    verdict = judge(PSNR, restorer(24, 25, 26, gain=-0.5), None)
    assert verdict == Verdict("rejected", ("psnr_gain is -0.5, below the floor 0",))


def test_every_floor_that_does_not_hold_is_named():
    verdict = judge(KID, generator(0.01, 0.02, 0.03, cas=0.4, fd=31), None)
    assert verdict.outcome == "rejected"
    assert verdict.reasons == ("cas is 0.4, below the floor 0.5", "fd_classifier is 31, above the floor 30")


def test_a_value_at_its_floor_holds():
    assert floor_failures(KID, generator(0.01, 0.02, 0.03, cas=0.5, fd=30)) == []


@pytest.mark.parametrize("scores", [{}, {"psnr_gain": NAN}], ids=["missing", "not a number"])
def test_a_floor_that_was_not_measured_does_not_hold(scores):
    assert floor_failures(PSNR, scores) == ["psnr_gain was not measured; its floor is 0"]


def test_better_means_intervals_apart():
    verdict = judge(PSNR, restorer(26.1, 27, 28), restorer(24, 25, 26))
    assert verdict.outcome == "promoted"
    assert verdict.reasons == ("better, intervals apart: psnr 27 [26.1, 28] against the champion's psnr 25 [24, 26]",)


@pytest.mark.parametrize("new", [(25.9, 27, 28), (26, 27, 28), (24, 25, 26), (20, 21, 22)])
def test_intervals_that_touch_or_overlap_keep_the_champion(new):
    verdict = judge(PSNR, restorer(*new), restorer(24, 25, 26))
    assert verdict.outcome == "kept"
    assert verdict.reasons[0].startswith("not proven better: psnr ")


def test_less_is_better_for_a_distance():
    champion = generator(0.02, 0.03, 0.04)
    assert judge(KID, generator(0.005, 0.01, 0.019), champion).outcome == "promoted"
    assert judge(KID, generator(0.005, 0.01, 0.02), champion).outcome == "kept"
    assert judge(KID, generator(0.05, 0.06, 0.07), champion).outcome == "kept"


@pytest.mark.parametrize("champion", [None, restorer(24, 25, 26)], ids=["first", "second"])
@pytest.mark.parametrize("scores", [{}, {"psnr": NAN}], ids=["missing", "not a number"])
def test_a_version_whose_deciding_metric_was_not_measured_is_rejected(scores, champion):
    verdict = judge(Gate(metric="psnr"), scores, champion)
    assert verdict == Verdict("rejected", ("psnr was not measured, and it decides promotion",))


@pytest.mark.parametrize("champion", [{}, {"psnr": NAN}], ids=["missing", "not a number"])
def test_a_champion_that_was_not_measured_stays(champion):
    verdict = judge(PSNR, restorer(24, 25, 26), champion)
    assert verdict == Verdict("kept", ("not proven better: the champion's psnr was not measured",))


INTERVALS = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted)


@given(INTERVALS, INTERVALS)
def test_no_two_versions_beat_each_other(first, second):
    for rule, scored in ((PSNR, restorer), (KID, generator)):
        outcomes = [judge(rule, scored(*a), scored(*b)).outcome for a, b in ((first, second), (second, first))]
        assert outcomes.count("promoted") <= 1
        assert judge(rule, scored(*first), scored(*first)).outcome == "kept"
        assert "rejected" not in outcomes


# -- the registry ----------------------------------------------------------------------------------------------------

MODEL = "fashion-denoise"


@pytest.fixture(scope="module")
def registered(registry, tmp_path_factory):
    """Three versions of a tiny restorer; the third is below the floor, and there is a model without any champion."""
    torch.manual_seed(0)
    config = {"name": "cnn", "channels": 1, "width": 4, "depth": 2}
    trained = Trained(build_restorer(**config).eval(), config, 0)
    info = DatasetInfo(28, 1, 0, (), {"train": 1, "validation": 1, "test": 1})
    bundle = write_bundle(tmp_path_factory.mktemp("gate") / "bundle", "restoration", trained, info)
    first = registry.register(MODEL, registry.runs.start(MODEL, "f1", {}), bundle, {"fingerprint": "f1"})
    for number in (2, 3, 4):  # the bundle is logged once: that takes seconds
        run_id = registry.runs.start(MODEL, f"f{number}", {})
        registry._client.create_model_version(MODEL, f"runs:/{first.run_id}/x", run_id)
    registry._client.create_registered_model("fashion-empty")
    for number, gain in ((1, 1.0), (2, 9.0), (3, -1.0)):
        psnr = 20 + gain
        values = {"psnr": Score(psnr, psnr - 1, psnr + 1, 10, "dB"), "psnr_gain": Score(gain, gain, gain, 10, "dB")}
        registry.runs.log_scores(registry.version(MODEL, number).run_id, values)
    return registry


@pytest.fixture
def fresh(registered):
    """The registry, version 1 champion by the gate, no alias else."""
    for alias in (CHAMPION, PREVIOUS, CHALLENGER):
        registered.delete_alias(MODEL, alias)
    registered._client.delete_model_version_tag(MODEL, "2", "verdict")
    registered.set_alias(MODEL, CHALLENGER, 1)
    record(registered, registered.version(MODEL, 1), Verdict("promoted", ("first version",)))
    return registered


def aliases(registry):
    """{alias: version}."""
    return {alias: version.number for version in registry.versions(MODEL) for alias in version.aliases}


def tags(registry, number):
    return registry.version(MODEL, number).tags


def test_a_new_version_is_challenger_until_it_is_judged(registered):
    registered.set_alias(MODEL, CHALLENGER, 2)
    record(registered, registered.version(MODEL, 2), Verdict("promoted", ("better",)))
    assert CHALLENGER not in aliases(registered)
    assert aliases(registered)[CHAMPION] == 2


def test_a_verdict_is_written_with_reasons_time_and_person(fresh):
    assert tags(fresh, 1)["verdict"] == "promoted"
    assert json.loads(tags(fresh, 1)["verdict.reasons"]) == ["first version"]
    assert tags(fresh, 1)["verdict.by"] == getpass.getuser()
    assert tags(fresh, 1)["verdict.at"].endswith("Z")


@pytest.mark.parametrize("outcome", ["kept", "rejected"])
def test_a_version_that_is_not_promoted_moves_no_alias(fresh, outcome):
    before = aliases(fresh)
    record(fresh, fresh.version(MODEL, 2), Verdict(outcome, ("no proof",)))
    assert aliases(fresh) == before
    assert tags(fresh, 2)["verdict"] == outcome


def test_a_promotion_makes_the_champion_before_it_previous(fresh):
    record(fresh, fresh.version(MODEL, 2), Verdict("promoted", ("better",)))
    assert aliases(fresh) == {CHAMPION: 2, PREVIOUS: 1}
    move_champion(fresh, fresh.version(MODEL, 2))  # a second time, after a kill: nothing moves
    assert aliases(fresh) == {CHAMPION: 2, PREVIOUS: 1}


def test_there_is_exactly_one_champion_at_every_moment(fresh, monkeypatch):
    seen = []
    for name in ("set_alias", "delete_alias", "tag"):
        real = getattr(type(fresh), name)

        def spied(*arguments, real=real):
            seen.append([version for version in fresh.versions(MODEL) if CHAMPION in version.aliases])
            real(*arguments)
            seen.append([version for version in fresh.versions(MODEL) if CHAMPION in version.aliases])

        monkeypatch.setattr(type(fresh), name, spied)
    record(fresh, fresh.version(MODEL, 2), Verdict("promoted", ("better",)))
    rollback(fresh, MODEL, "worse in production")
    promote_by_hand(fresh, PSNR, fresh.version(MODEL, 2), "tried again")
    assert len(seen) == 18
    assert {len(champions) for champions in seen} == {1}


def test_a_person_may_promote_what_passes_the_floors(fresh):
    promote_by_hand(fresh, PSNR, fresh.version(MODEL, 2), "looks better")
    assert aliases(fresh) == {CHAMPION: 2, PREVIOUS: 1}
    assert json.loads(tags(fresh, 2)["verdict.reasons"]) == ["by hand: looks better"]


@pytest.mark.parametrize(
    ("number", "error", "expected"),
    [
        (1, UsageError, r"fashion-denoise/1 is the champion already\."),
        (3, RegistryError, r"fashion-denoise/3 can't be promoted: psnr_gain is -1, below the floor 0\. The floors"),
        (4, RegistryError, r"fashion-denoise/4 was never evaluated, so it can't be promoted\. `atelier run"),
    ],
)  # fmt: skip
def test_a_person_may_not_promote_what_the_floors_forbid(fresh, number, error, expected):
    before = aliases(fresh)
    with pytest.raises(error, match=expected):
        promote_by_hand(fresh, PSNR, fresh.version(MODEL, number), "please")
    assert aliases(fresh) == before


def test_rollback_swaps_champion_and_previous_and_a_second_one_swaps_them_back(fresh):
    record(fresh, fresh.version(MODEL, 2), Verdict("promoted", ("better",)))
    champion, former = rollback(fresh, MODEL, "bad on shoes")
    assert (str(champion), str(former)) == ("fashion-denoise/1", "fashion-denoise/2")
    assert aliases(fresh) == {CHAMPION: 1, PREVIOUS: 2}
    assert tags(fresh, 2)["verdict"] == "rolled back"
    assert json.loads(tags(fresh, 2)["verdict.reasons"]) == ["bad on shoes"]
    assert json.loads(tags(fresh, 1)["verdict.reasons"]) == ["first version"]  # why it was good is kept
    champion, former = rollback(fresh, MODEL, "the shoes were mislabelled")
    assert (champion.number, former.number) == (2, 1)
    assert aliases(fresh) == {CHAMPION: 2, PREVIOUS: 1}
    assert tags(fresh, 2)["verdict"] == "promoted"  # no champion that is called rolled back


def test_rollback_with_nothing_to_go_back_to_is_refused(fresh):
    with pytest.raises(UsageError, match=r"fashion-denoise has no previous, so there is nothing to roll back to\."):
        rollback(fresh, MODEL, "")
    with pytest.raises(UsageError, match=r"fashion-empty has no champion, so there is nothing to roll back to\."):
        rollback(fresh, "fashion-empty", "")
    with pytest.raises(UsageError, match=r"no model 'fashion-denose' is registered\. Did you mean 'fashion-denoise'\?"):
        rollback(fresh, "fashion-denose", "")
    assert aliases(fresh) == {CHAMPION: 1}


@pytest.mark.parametrize("moved", [(), (PREVIOUS,), (PREVIOUS, CHAMPION)])
def test_a_decision_that_was_killed_halfway_is_finished_by_the_next_call(fresh, moved):
    for alias, number in ((PREVIOUS, 1), (CHAMPION, 2)):
        if alias in moved:
            fresh.set_alias(MODEL, alias, number)
    params = load_params(Path(__file__).with_name("example_params.yaml"))
    assert stages.decide(Project(Path()), params, MODEL, 2) == "promoted"
    assert aliases(fresh) == {CHAMPION: 2, PREVIOUS: 1}
    reason = "better, intervals apart: psnr 29 [28, 30] against the champion's psnr 21 [20, 22]"
    assert json.loads(tags(fresh, 2)["verdict.reasons"]) == [reason]


# -- names of versions -----------------------------------------------------------------------------------------------


def test_a_reference_is_a_name_an_alias_or_a_number(fresh):
    record(fresh, fresh.version(MODEL, 2), Verdict("promoted", ("better",)))
    references = (MODEL, f"{MODEL}@champion", f"{MODEL}@previous", f"{MODEL}/3", f"{MODEL}@")
    assert [fresh.resolve(reference).number for reference in references] == [2, 2, 1, 3, 2]
    assert fresh.aliased(MODEL, CHALLENGER) is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("fashion-denoize", r"no model 'fashion-denoize' is registered\. Did you mean 'fashion-denoise'\?"),
        ("fashion-denoise@champoin", r"has no champoin; its aliases: champion\. Name a version \(fashion-denoise/1\)"),
        ("fashion-denoise/9", r"fashion-denoise has no version 9; its versions: 1, 2, 3, 4\. See"),
        ("fashion-denoise/one", r"'fashion-denoise/one' is not a model: write NAME, NAME@ALIAS or NAME/VERSION\."),
        ("fashion-denoise/-1", r"write NAME, NAME@ALIAS or NAME/VERSION"),
        ("fashion-denoise/", r"write NAME, NAME@ALIAS or NAME/VERSION"),
        ("fashion-denoise@champion/1", r"write NAME, NAME@ALIAS or NAME/VERSION"),
        ("fashion-empty", r"fashion-empty has no champion; its aliases: none\."),
        ("", r"no model '' is registered\. Known: fashion-denoise, fashion-empty"),
        ("it's", r"no model \"it's\" is registered"),
    ],
)  # fmt: skip
def test_a_reference_that_names_nothing_is_refused(fresh, reference, expected):
    with pytest.raises(UsageError, match=expected):
        fresh.resolve(reference)


def test_more_models_than_mlflow_lists_on_one_page_are_all_known(fresh):
    for number in range(101):
        fresh._client.create_registered_model(f"many-{number:03d}")
    assert len(fresh.model_names()) == 103
