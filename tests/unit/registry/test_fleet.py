import pytest

from atelier.params import load_params
from atelier.project import Project
from atelier.registry import Registry, connection, read_fleet
from benchmarks.report_speed import make_history
from tests.unit.promotion.test_promotion import EXAMPLE

pytestmark = pytest.mark.service

NUM_RUNS = 12


class Counting:
    """A client that counts what it is asked."""

    def __init__(self, client):
        self._client, self.asked = client, []

    def __getattr__(self, name):
        self.asked.append(name)
        return getattr(self._client, name)


@pytest.fixture(scope="module")
def filled(registry):
    """A registry of four models and twelve runs, of which one failed."""
    make_history(registry, load_params(EXAMPLE), NUM_RUNS)
    return registry


def asked_for(registry):
    """What `read_fleet` asks MLflow for, and its answer."""
    counting = Counting(registry._client)
    other = Registry(registry.project)
    other._client = counting
    return counting.asked, read_fleet(other)


def test_all_models_runs_and_decisions_are_there_as_the_single_calls_give_them(filled):
    found = read_fleet(filled)
    assert list(found.models) == filled.model_names() and len(found.models) == 4
    for name, versions in found.models.items():
        assert list(versions) == filled.versions(name)
        assert list(found.ledgers[name]) == filled.ledger.entries(name)
        assert len(found.ledgers[name]) == len(versions) >= 2
    assert {run.run_id: run for run in found.runs} == {
        run.run_id: filled.runs.record(run.run_id) for run in found.runs
    }
    assert len(found.runs) == NUM_RUNS
    assert [run.notes for run in found.runs if run.status == "FAILED"] == [
        "- failed: the loss is not finite at 4,096 images, and was not after three rollbacks\n"
    ]
    assert not found.distrusted


def test_the_number_of_calls_does_not_grow_with_the_number_of_runs(filled):
    before, _ = asked_for(filled)
    for number in range(5):
        filled.runs.start("more", f"more-{number}", {})
    after, found = asked_for(filled)
    assert len(found.runs) == NUM_RUNS + 5
    assert before == after and len(before) == 4


def test_more_than_a_page_is_read_to_the_end(filled, monkeypatch):
    whole = read_fleet(filled)
    monkeypatch.setattr(connection, "PAGE", 2)
    assert read_fleet(filled) == whole


def test_a_chain_that_was_tampered_with_is_named_and_the_others_stay(filled, tmp_path):
    entries = filled.ledger.entries("fashion-gan")
    client, run_id = filled._client, entries[0].run_id
    decision = client.get_run(run_id).data.tags["decision"]
    for forged, what in (
        (decision.replace("proven", "not"), "was changed"),
        ("{", "holds no entry that can be read"),
    ):
        client.set_tag(run_id, "decision", forged)
        found = read_fleet(filled)
        assert "fashion-gan can't be trusted" in found.distrusted["fashion-gan"]
        assert what in found.distrusted["fashion-gan"]
        assert set(found.ledgers) == set(found.models) - {"fashion-gan"}
    client.set_tag(run_id, "decision", decision)
    client.delete_run(entries[-1].run_id)
    assert "newest entries are gone" in read_fleet(filled).distrusted["fashion-gan"]
    client.restore_run(entries[-1].run_id)
    assert not read_fleet(filled).distrusted


def test_a_registry_without_anything_is_empty(tmp_path, tracking_at):
    with tracking_at(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        found = read_fleet(Registry(Project(tmp_path)))
    assert (found.models, found.runs, found.ledgers, found.distrusted) == ({}, (), {}, {})
