import getpass
import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from atelier import promotion
from atelier.data.store import DatasetInfo
from atelier.data.versions import dvc
from atelier.errors import RegistryError, UsageError
from atelier.factory import Factory
from atelier.factory.card import begin_card
from atelier.factory.inspect import REPORT as INFRASTRUCTURE
from atelier.factory.inspect import inspect, query
from atelier.metrics.intervals import Score
from atelier.networks.restorers import build_restorer
from atelier.params import load_params
from atelier.project import Project
from atelier.registry import CHALLENGER, CHAMPION, PREVIOUS, START, Registry
from atelier.registry.versions import OURS
from atelier.review.history import history_entry
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained
from tests.support.dvc_projects import commit as commit_to_git
from tests.support.dvc_projects import new_project
from tests.support.killed_promotion import promote_and_die
from tests.support.places import EXAMPLE_FILE
from tests.support.processes import PROCESSES

pytestmark = pytest.mark.service

MODEL = "fashion-denoise"
EXAMPLE = EXAMPLE_FILE
GAINS = {
    1: 0.0,
    2: 0.5,
    3: 0.6,
    4: 0.1,
}  # dB above version 1, in the mean; of 4 with so much noise that it proves nothing
CONFIG = {"name": "cnn", "channels": 1, "width": 4, "depth": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory, migrated_database, tracking_at):
    """A project with pushed data and four evaluated and inspected versions of a tiny restorer.

    In its folder are the registry before any of them was judged (0.db) and after that of the first,
    second and third.
    """
    root = new_project(tmp_path_factory.mktemp("promotion") / "project")
    (root / "data" / "fashion").mkdir(parents=True)
    (root / "data" / "fashion" / "dataset.json").write_text("{}")
    (root / "data" / "fashion" / "manifest.csv").write_text("sha256")
    md5 = dvc.track(root)
    dvc.push(root)
    commit_to_git(root, "data")
    shutil.copy(EXAMPLE, root / "params.yaml")
    shutil.copy(migrated_database, root / "mlflow.db")
    with tracking_at(f"sqlite:///{root / 'mlflow.db'}"):
        registry = Registry(Project(root))
        torch.manual_seed(0)
        info = DatasetInfo(28, 1, 0, (), {"train": 1, "validation": 1, "test": 1})
        trained = Trained(build_restorer(**CONFIG).eval(), CONFIG, 0)
        bundle = write_bundle(root / "bundle", "restoration", trained, info)
        tags = {"data.md5": md5}
        first = registry.register(MODEL, registry.runs.start(MODEL, "f1", {}), bundle, tags)
        for number in (2, 3, 4, 5):  # the bundle is logged once: that takes seconds
            run_id = registry.runs.start(MODEL, f"f{number}", {})
            registry._client.create_model_version(
                MODEL, f"runs:/{first.run_id}/x", run_id, tags=tags
            )
        for number, gain in GAINS.items():
            evaluate(registry, number, gain)
        params = load_params(root / "params.yaml")
        shutil.copy(root / "mlflow.db", root / "0.db")
        for number in (1, 2, 3):
            assert (
                promotion.let_the_gate_decide(Factory.open(Project(root), params), MODEL, number)
                == "promoted"
            )
            shutil.copy(root / "mlflow.db", root / f"{number}.db")
    return root


def evaluate(registry, number, gain):
    """What an evaluation and an inspection leave behind."""
    rng = np.random.default_rng(number)
    psnr = (
        np.random.default_rng(0).normal(25, 3, 200)
        + gain
        + rng.normal(0, 3.0 if number == 4 else 0.3, 200)
    )
    run_id, mean = registry.version(MODEL, number).run_id, float(psnr.mean())
    values = {
        "psnr": Score(mean, mean - 1, mean + 1, 200, "dB"),
        "psnr_gain": Score(1, 1, 1, 200, "dB"),
    }
    registry.runs.log_scores(run_id, values)
    units = pd.DataFrame(
        {"unit": [f"{i:064x}" for i in range(200)], "psnr": psnr, "class": ["NA", "7"] * 100}
    )
    registry.runs.log_files(run_id, "evaluation", {"units.csv": units})
    counts = {"fashion": {"train": 1, "test": 200}}
    facts = begin_card(
        load_params(EXAMPLE), MODEL, counts, {"fingerprint": f"f{number}", "seed": "7"}
    )
    registry.runs.log_files(run_id, "card", {"card.json": json.dumps(facts)})
    inspected = {"failures": [], "load_seconds": 1.0, "milliseconds": 5.0, "size": 28}
    registry.runs.log_files(run_id, "", {INFRASTRUCTURE: json.dumps(inspected)})


@pytest.fixture
def judged():
    """How many versions have been promoted when a test begins; see `after`."""
    return 0


def after(count):
    """A test that begins when so many versions have been promoted."""
    return pytest.mark.parametrize("judged", [count], ids=[f"after {count}"])


@pytest.fixture
def project(made, tmp_path, tracking_at, judged):
    """A copy of that project, whose registry can be changed.

    MLflow's files are shared by all copies.
    """
    root = tmp_path / "project"
    shutil.copytree(made, root, ignore=shutil.ignore_patterns("mlruns", "*.db"))
    shutil.copy(made / f"{judged}.db", root / "mlflow.db")
    with tracking_at(f"sqlite:///{root / 'mlflow.db'}"):
        yield Project(root)


@pytest.fixture
def registry(project):
    return Registry(project)


@pytest.fixture
def params(project):
    return load_params(project.params_file)


def with_promotion(params, **changes):
    return params.model_copy(update={"promotion": params.promotion.model_copy(update=changes)})


def with_gate(params, **changes):
    return with_promotion(
        params, restoration=params.promotion.restoration.model_copy(update=changes)
    )


def aliases(registry):
    return {
        alias: version.number for version in registry.versions(MODEL) for alias in version.aliases
    }


def tags(registry, number):
    return registry.version(MODEL, number).tags


def decided(registry):
    return [
        (entry.decision.action, entry.decision.version) for entry in registry.ledger.entries(MODEL)
    ]


# -- the gate's decisions ----------------------------------------------------------------------


@after(2)
def test_versions_that_are_better_follow_each_other_as_champion(project, registry, params):
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1}
    assert (
        tags(registry, 2)["verdict"] == "promoted"
        and tags(registry, 2)["blessing.quality"] == "given"
    )
    (reason,) = json.loads(tags(registry, 2)["verdict.reasons"])
    assert reason.startswith("better than fashion-denoise/1: psnr +0.") and "200 pairs" in reason
    blessing = registry.runs.read_json(registry.version(MODEL, 2).run_id, promotion.QUALITY)
    assert blessing["blessed"] and blessing["comparison"]["champion"] == "fashion-denoise/1"
    stored = registry._client.get_model_version(MODEL, "2")
    assert stored.description.startswith(
        "# fashion-denoise/2\n\nRestores images like those of fashion from: noise."
    )
    assert (
        promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 2) == "promoted"
    )  # judged once
    assert decided(registry) == [("promoted", 1), ("promoted", 2)]


@after(2)
def test_a_version_that_is_not_proven_better_is_kept(project, registry, params):
    assert promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 4) == "kept"
    assert aliases(registry)[CHAMPION] == 2
    assert json.loads(tags(registry, 4)["verdict.reasons"])[0].startswith(
        "not proven better than fashion-denoise/2"
    )


def test_manual_approval_waits_for_a_person(project, registry, params):
    careful = with_promotion(params, approval="manual")
    assert promotion.let_the_gate_decide(Factory.open(project, careful), MODEL, 1) == "waiting"
    assert aliases(registry) == {CHALLENGER: 1}
    version = registry.version(MODEL, 1)
    promotion.carry_out(
        registry,
        promotion.propose_approval(Factory(project, careful, registry), version, "seen it"),
    )
    assert aliases(registry) == {CHAMPION: 1}
    assert tags(registry, 1)["verdict"] == "promoted"
    assert decided(registry) == [("waiting", 1), ("approved", 1)]
    with pytest.raises(UsageError, match="does not wait for approval: promoted"):
        promotion.propose_approval(
            Factory(project, careful, registry), registry.version(MODEL, 1), "again"
        )


# -- what is refused, each with its own reason -------------------------------------------------


def refused(project, registry, params, number):
    """Why the gate rejects a version; a person can't promote it either."""
    assert promotion.let_the_gate_decide(Factory.open(project, params), MODEL, number) == "rejected"
    reasons = json.loads(tags(registry, number)["verdict.reasons"])
    with pytest.raises(RegistryError, match="can't be promoted"):
        promotion.propose_promotion(
            Factory(project, params, registry), registry.version(MODEL, number), "please"
        )
    assert CHAMPION not in registry.version(MODEL, number).aliases
    return reasons


def test_a_version_that_was_never_inspected_lacks_a_blessing(project, registry, params):
    run_id = registry.version(MODEL, 5).run_id
    registry.runs.log_scores(
        run_id, {"psnr": Score(9, 8, 10, 9, "dB"), "psnr_gain": Score(1, 1, 1, 9, "dB")}
    )
    facts = begin_card(params, MODEL, {"fashion": {"train": 1}}, {"fingerprint": "f5", "seed": "7"})
    registry.runs.log_files(run_id, "card", {"card.json": json.dumps(facts)})
    assert refused(project, registry, params, 5) == [
        "the infrastructure blessing is missing: it was never loaded and queried"
    ]


def test_a_version_below_a_floor_is_refused(project, registry, params):
    assert refused(project, registry, with_gate(params, floors={"psnr_gain": 1.5}), 1) == [
        "psnr_gain is 1, below the floor 1.5"
    ]


def test_a_version_that_answers_too_slowly_is_refused(project, registry, params):
    assert refused(project, registry, with_gate(params, max_milliseconds=4.0), 1) == [
        "too slow: 5 ms for an image of 28 pixels on one core; at most 4"
    ]


@after(1)
def test_a_version_that_is_worse_in_a_class_is_refused(project, registry, params):
    run_id = registry.version(MODEL, 2).run_id
    units = registry.runs.read_table(run_id, "evaluation/units.csv")
    worse = units.assign(psnr=units["psnr"] - (units["class"] == "7"))
    registry.runs.log_files(run_id, "evaluation", {"units.csv": worse})
    try:
        (reason,) = refused(project, registry, with_gate(params, slice_margin=0.1), 2)
    finally:  # all copies of the project share MLflow's files
        registry.runs.log_files(run_id, "evaluation", {"units.csv": units})
    assert reason.startswith("worse in the slice class 7: psnr by ")


def test_a_version_whose_data_are_not_in_the_remote_is_refused(project, registry, params):
    md5 = dvc.data_md5(project.root)
    for path in (project.root / ".dvcstore").rglob("*"):
        if path.is_file():
            path.unlink()
    assert refused(project, registry, params, 1) == [
        f"unpushed data: the DVC remote lacks files of {md5}"
    ]


def test_weights_that_are_not_numbers_and_a_wrong_signature_are_found_in_a_fresh_process(
    project, registry, tmp_path
):
    network = build_restorer(**CONFIG)
    with torch.no_grad():
        network.body[0].weight[0] = torch.nan
    info = DatasetInfo(28, 1, 0, (), {"train": 1})
    broken = write_bundle(
        tmp_path / "bundle", "restoration", Trained(network.eval(), CONFIG, 0), info
    )
    version = registry.register("broken", registry.runs.start("broken", "nan", {}), broken, {})
    artifacts = registry._connection.mlflow.artifacts
    model = Path(artifacts.download_artifacts(artifact_uri=f"models:/{version}")) / "MLmodel"
    model.write_text(model.read_text().replace("signature:", "unread_signature:"))
    weights, signature = inspect(registry, version)
    assert weights.startswith("NaN or infinite weights in the network: body.0.weight")
    assert signature.startswith("wrong signature: None; this kind of model has {")
    assert registry.version("broken", 1).tags["blessing.infrastructure"] == "refused"


@pytest.mark.parametrize("module", ["losses", "restore"])
def test_a_served_file_that_needs_a_file_of_atelier_is_refused(project, registry, tmp_path, module):
    """Neither the package's folder nor that of the inspection is searched for modules."""
    network = build_restorer(**CONFIG).eval()
    info = DatasetInfo(28, 1, 0, (), {"train": 1})
    leaning = write_bundle(tmp_path / "bundle", "restoration", Trained(network, CONFIG, 0), info)
    source = leaning / "network.py"
    lines = source.read_text().replace("import torch\n", f"import torch\nimport {module}\n", 1)
    assert f"import {module}" in lines
    source.write_text(lines)
    name = f"leaning-on-{module}"
    version = registry.register(name, registry.runs.start(name, "print", {}), leaning, {})
    (reason,) = inspect(registry, version)
    assert f"ModuleNotFoundError: No module named '{module}'" in reason


def test_an_inspection_whose_process_dies_says_nothing_of_the_version(
    registry, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # no Python starts from there
    with pytest.raises(
        RegistryError,
        match=f"inspected {MODEL}/1 ended with code 1: .*not judged. Run `atelier run",
    ):
        query(registry, registry.version(MODEL, 1))


def test_a_healthy_version_is_loaded_queried_and_timed(registry):
    found = query(registry, registry.version(MODEL, 1))
    assert found["failures"] == [] and found["size"] == 28
    assert 0 < found["milliseconds"] < 60_000 and found["load_seconds"] > 0


# -- people's decisions ------------------------------------------------------------------------


@after(2)
def test_a_person_may_promote_what_is_not_proven_better(project, registry, params):
    promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 4)
    version = registry.version(MODEL, 4)
    factory = Factory(project, params, registry)
    promotion.carry_out(registry, promotion.propose_promotion(factory, version, "looks better"))
    assert aliases(registry) == {CHAMPION: 4, PREVIOUS: 2}
    entry = registry.ledger.entries(MODEL)[-1]
    assert entry.decision.reasons == ("by hand: looks better",)
    assert entry.decision.who == getpass.getuser()
    assert (entry.decision.champion_before, entry.decision.champion, entry.is_open) == (2, 4, False)
    with pytest.raises(UsageError, match="is the champion already"):
        promotion.propose_promotion(
            Factory(project, params, registry), registry.version(MODEL, 4), "again"
        )


def test_what_was_never_evaluated_can_not_be_promoted(project, registry, params):
    with pytest.raises(
        RegistryError, match=r"fashion-denoise/5 was never evaluated.*`atelier run fashion-denoise`"
    ):
        promotion.propose_promotion(
            Factory(project, params, registry), registry.version(MODEL, 5), "please"
        )


@after(1)
def test_a_proposal_changes_nothing_until_it_is_carried_out(project, registry, params):
    before = aliases(registry), decided(registry)
    promotion.propose_promotion(
        Factory(project, params, registry), registry.version(MODEL, 2), "maybe"
    )
    promotion.propose_rejection(registry, registry.version(MODEL, 2), "maybe not")
    assert (aliases(registry), decided(registry)) == before


def test_a_rejected_version_is_no_challenger_any_more(project, registry, params):
    version = registry.version(MODEL, 1)
    assert aliases(registry) == {CHALLENGER: 1}
    promotion.carry_out(registry, promotion.propose_rejection(registry, version, "artefacts"))
    assert aliases(registry) == {}
    with pytest.raises(UsageError, match="was rejected already"):
        promotion.propose_rejection(registry, registry.version(MODEL, 1), "again")
    promotion.carry_out(
        registry,
        promotion.propose_promotion(Factory(project, params, registry), version, "after all"),
    )
    with pytest.raises(
        UsageError, match=r"is the champion: take it back with `atelier rollback fashion-denoise`"
    ):
        promotion.propose_rejection(registry, registry.version(MODEL, 1), "no")


def roll_back(registry, number=None, reason="bad on shoes"):
    return promotion.carry_out(
        registry, promotion.propose_rollback(registry, MODEL, number, reason)
    )


@after(2)
def test_rollback_swaps_champion_and_previous_and_a_second_one_swaps_them_back(
    project, registry, params
):
    roll_back(registry)
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2}
    assert tags(registry, 2)["verdict"] == "rolled back"
    assert json.loads(tags(registry, 2)["verdict.reasons"]) == ["bad on shoes"]
    assert json.loads(tags(registry, 1)["verdict.reasons"])[0].startswith(
        "no champion before it"
    )  # why it was good
    roll_back(registry, reason="the shoes were mislabelled")
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1}
    assert tags(registry, 2)["verdict"] == "promoted"  # no champion that is called rolled back
    assert decided(registry)[-2:] == [("rolled back", 2), ("rolled back", 1)]


@after(3)
def test_rollback_goes_to_any_version_that_was_champion_and_to_no_other(project, registry, params):
    with pytest.raises(
        UsageError,
        match="has no version 4 to roll back to; versions that were champion before: 1, 2",
    ):
        roll_back(registry, 4)
    roll_back(registry, 1)
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 3}


@after(1)
def test_without_a_former_champion_there_is_nothing_to_roll_back_to(project, registry, params):
    with pytest.raises(
        UsageError, match=r"nothing to roll back to; versions that were champion before: none\."
    ):
        roll_back(registry)


@after(3)
def test_a_deleted_champion_is_shown_and_can_be_rolled_back_from(project, registry, params):
    registry._client.delete_model_version(MODEL, "3")
    assert promotion.disagreements(registry, MODEL) == [
        "fashion-denoise/3 was champion and has been deleted; champion is nobody now"
    ]
    decision = roll_back(registry)
    assert (decision.version, decision.champion) == (3, 2)
    assert aliases(registry)[CHAMPION] == 2
    assert promotion.disagreements(registry, MODEL) == []
    roll_back(
        registry
    )  # its own previous was deleted as well as any champion later: the ledger knows version 1
    assert aliases(registry)[CHAMPION] == 1


@after(2)
def test_an_alias_that_was_moved_by_hand_is_shown(project, registry, params):
    assert promotion.disagreements(registry, MODEL) == []
    registry.set_alias(MODEL, CHAMPION, 1)
    assert promotion.disagreements(registry, MODEL) == [
        "champion of fashion-denoise was moved by hand: it is 1, the ledger says 2"
    ]


# -- what comes again, and what is gone --------------------------------------------------------


@after(2)
def test_the_ledger_of_a_model_that_was_made_anew_is_closed_and_its_numbers_prove_nothing(
    project, registry, params
):
    registry._client.delete_registered_model(MODEL)
    registry._client.create_registered_model(MODEL, tags=OURS)
    for fingerprint in ("new1", "new2"):
        run_id = registry.runs.start(MODEL, fingerprint, {})
        registry._client.create_model_version(MODEL, f"runs:/{run_id}/x", run_id)
    registry.set_alias(MODEL, CHAMPION, 2)
    (sentence,) = promotion.disagreements(registry, MODEL)
    assert "the model was deleted in MLflow" in sentence
    with pytest.raises(
        UsageError, match="nothing to roll back to; versions that were champion before: none"
    ):
        roll_back(registry)
    promotion.repair_interrupted(registry, MODEL)
    assert decided(registry)[-1] == ("closed", 2)
    assert aliases(registry) == {} and promotion.disagreements(registry, MODEL) == []
    assert "verdict" not in tags(registry, 2)
    promotion.repair_interrupted(registry, MODEL)  # once
    assert len(decided(registry)) == 3
    with pytest.raises(UsageError, match="nothing to roll back to"):
        roll_back(registry)


def without_runs(registry):
    """The ledger as it was written before the runs of versions were."""
    entries = registry.ledger.entries(MODEL)
    for entry in entries:
        registry._client.delete_run(entry.run_id)
    head = START
    for number, entry in enumerate(entries, start=1):
        head = registry.ledger._write(replace(entry.decision, runs={}), number, head).hash
    registry._client.set_registered_model_tag(MODEL, "ledger.head", head)


@after(2)
def test_a_ledger_from_before_runs_were_written_is_verified_and_rolls_back(
    project, registry, params
):
    without_runs(registry)
    assert all("runs" not in json.loads(run.data.tags["decision"]) for run in ledger_runs(registry))
    for entry in registry.ledger.entries(MODEL):
        registry.ledger.close(entry)
    assert promotion.disagreements(registry, MODEL) == []
    roll_back(registry)
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2}


def ledger_runs(registry):
    return registry._client.search_runs([registry.runs.experiment("ledger")])


@after(1)
def test_a_deleted_ledger_is_no_empty_one(project, registry, params):
    experiment = registry.runs.experiment("ledger")
    registry._client.delete_experiment(experiment)
    with pytest.raises(
        RegistryError, match=f"experiment ledger was deleted.*restore --experiment-id {experiment}"
    ):
        Registry(project).ledger.entries(MODEL)
    registry._client.restore_experiment(experiment)
    registry._client.rename_experiment(experiment, "gone")  # as after `mlflow gc`
    with pytest.raises(
        RegistryError,
        match="all its entries are gone .*atelier ledger fashion-denoise --begin-again",
    ):
        promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 2)
    promotion.begin_again(Registry(project), MODEL, "no backup")
    assert promotion.disagreements(Registry(project), MODEL) == []
    assert promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 2) == "promoted"
    with pytest.raises(UsageError, match="nothing was decided about fresh yet"):
        registry._client.create_registered_model("fresh", tags=OURS)
        registry._client.create_model_version(
            "fresh", "runs:/x/y", registry.runs.start("fresh", "f", {})
        )
        promotion.begin_again(registry, "fresh", "never lost")
    with pytest.raises(UsageError, match="has a ledger"):
        promotion.begin_again(Registry(project), MODEL, "again")


@after(2)
def test_a_champion_whose_run_is_gone_stops_what_needs_it_and_nothing_else(
    project, registry, params
):
    lost = registry.version(MODEL, 2)
    registry._client.delete_run(lost.run_id)
    assert [
        history_entry(registry, version)["reasons"][-1:]
        for version in registry.versions(MODEL)[1:3]
    ] == [
        [
            f"run {lost.run_id} was deleted in MLflow (until `mlflow gc`: mlflow runs restore "
            f"--run-id {lost.run_id})"
        ],
        [],
    ]
    expected = (
        f"{MODEL}/2 is champion, and run {lost.run_id} was deleted .*atelier rollback {MODEL}"
    )
    with pytest.raises(RegistryError, match=expected):
        promotion.require_decidable(registry, MODEL)  # before a training
    with pytest.raises(RegistryError, match=expected):
        promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 3)
    assert "verdict" not in tags(registry, 3)
    promotion.carry_out(registry, promotion.propose_rejection(registry, lost, "its run is gone"))
    assert CHAMPION not in aliases(registry)
    promotion.require_decidable(registry, MODEL)
    # What was not judged is judged now.
    assert promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 3) == "promoted"


@after(1)
def test_the_newest_scores_are_those_of_the_last_evaluation_whatever_the_clock_says(
    registry, monkeypatch
):
    version = registry.version(MODEL, 5)
    for value, hours in ((1.0, 0), (2.0, -5)):
        now = time.time() + hours * 3600
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda now=now: now)
            registry.runs.log_scores(version.run_id, {"psnr": Score(value, value, value, 9, "dB")})
    assert registry.scores(version)["psnr"]["value"] == 2.0


@after(2)
def test_a_strangers_run_in_an_experiment_of_the_ledgers_name_is_no_entry(
    project, registry, params
):
    registry._client.create_run(
        registry.runs.experiment("ledger"), tags={"model": MODEL, "stage": "prod"}
    )
    assert decided(registry) == [("promoted", 1), ("promoted", 2)]


# -- two at once, and kills --------------------------------------------------------------------


@after(1)
def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(project, registry, params):
    first, second = (
        promotion.propose_promotion(
            Factory(project, params, registry), registry.version(MODEL, number), "mine"
        )
        for number in (2, 3)
    )
    promotion.carry_out(registry, first)
    with pytest.raises(
        UsageError,
        match="another decision about fashion-denoise came first: promoted version 2, by ",
    ):
        promotion.carry_out(registry, second)
    assert aliases(registry)[CHAMPION] == 2
    assert decided(registry) == [("promoted", 1), ("promoted", 2)]


@after(1)
def test_of_two_machines_that_write_at_the_same_moment_both_step_back_and_one_goes_on(
    project, registry, params, monkeypatch
):
    first, second = (
        promotion.propose_promotion(
            Factory(project, params, registry), registry.version(MODEL, number), "mine"
        )
        for number in (2, 3)
    )
    real_create, real_delete, others = registry._client.create_run, registry._client.delete_run, []

    def create(*arguments, **named):
        run = real_create(*arguments, **named)
        if not others:  # the other machine writes at the same moment
            others.append("")
            others[0] = registry.ledger._write(second.decision, 2, second.head).run_id
        return run

    def delete(run_id):
        real_delete(run_id)
        real_delete(others[0])  # it sees ours, and steps back as well

    monkeypatch.setattr(registry._client, "create_run", create)
    monkeypatch.setattr(registry._client, "delete_run", delete)
    promotion.carry_out(registry, first)
    assert others[0]
    assert decided(registry) == [("promoted", 1), ("promoted", 2)]


@after(1)
@pytest.mark.parametrize("steps", range(10))
def test_a_promotion_that_is_killed_between_any_two_steps_is_completed_by_the_next_command(
    project, registry, params, steps
):
    version = registry.version(MODEL, 2)
    proposal = promotion.propose_promotion(Factory(project, params, registry), version, "x")
    process = PROCESSES.Process(target=promote_and_die, args=(project.root, proposal, steps))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    champions = [version for version in registry.versions(MODEL) if CHAMPION in version.aliases]
    assert len(champions) == 1
    promotion.repair_interrupted(registry, MODEL)
    expected = 1 if steps == 0 else 2  # before the entry was written nothing had been decided
    assert aliases(registry)[CHAMPION] == expected
    assert all(not entry.is_open for entry in registry.ledger.entries(MODEL))
    assert promotion.disagreements(registry, MODEL) == []
    assert (tags(registry, 2).get("verdict") == "promoted") == (expected == 2)


@after(1)
def test_there_is_exactly_one_champion_at_every_moment(project, registry, params, monkeypatch):
    seen = []
    for name in ("set_alias", "delete_alias", "tag"):
        real = getattr(Registry, name)

        def spied(*arguments, real=real):
            seen.append(sum(CHAMPION in version.aliases for version in registry.versions(MODEL)))
            real(*arguments)
            seen.append(sum(CHAMPION in version.aliases for version in registry.versions(MODEL)))

        monkeypatch.setattr(Registry, name, spied)
    promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 2)
    roll_back(registry)
    assert len(seen) >= 16
    assert set(seen) == {1}


# -- the ledger --------------------------------------------------------------------------------


@after(2)
def test_a_changed_entry_is_found(project, registry, params):
    first = registry.ledger.entries(MODEL)[0]
    changed = json.dumps(
        {**json.loads(registry._client.get_run(first.run_id).data.tags["decision"]), "who": "eve"}
    )
    registry._client.set_tag(first.run_id, "decision", changed)
    with pytest.raises(
        RegistryError,
        match=r"the ledger of fashion-denoise can't be trusted: entry 1 .* was changed",
    ):
        registry.ledger.entries(MODEL)
    with pytest.raises(RegistryError, match="can't be trusted"):
        promotion.let_the_gate_decide(Factory.open(project, params), MODEL, 3)
    assert aliases(registry)[CHAMPION] == 2


@after(3)
def test_a_removed_entry_is_found_also_the_last(project, registry, params):
    entries = registry.ledger.entries(MODEL)
    registry._client.delete_run(entries[2].run_id)
    with pytest.raises(RegistryError, match="its newest entries are gone"):
        registry.ledger.entries(MODEL)
    registry._client.restore_run(entries[2].run_id)
    registry._client.delete_run(entries[1].run_id)
    with pytest.raises(RegistryError, match="entry 3 .* does not follow the one before it"):
        registry.ledger.entries(MODEL)


@after(1)
def test_two_models_have_chains_of_their_own(project, registry, params):
    (entry,) = registry.ledger.entries(MODEL)
    registry._client.create_registered_model("other", tags=OURS)
    registry.ledger.append(replace(entry.decision, model="other"), "0" * 64)
    assert [len(registry.ledger.entries(name)) for name in (MODEL, "other")] == [1, 1]
