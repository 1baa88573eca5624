"""Which version answers, as the registry changes."""

import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import pytest

from atelier.errors import UsageError
from atelier.service.fleet import Fleet
from tests.support.served import CLASSIFIER, GREY, let_answer, register

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def filled(registry, folder):
    """Two versions of a denoiser, a classifier, and a model that nobody promoted."""
    for _ in range(2):
        register(registry, folder, "denoise", "restoration", GREY)
    let_answer(registry, "denoise", 1)
    let_answer(
        registry, "clothes", register(registry, folder, "clothes", "classification", CLASSIFIER)
    )
    register(registry, folder, "waiting", "restoration", GREY)
    return registry


def opened(registry, *references):
    news = []
    fleet = Fleet(registry, references, news.append)
    fleet.open()
    fleet.news = news
    return fleet


def numbers(fleet):
    return {served.name: served.version.number for served in fleet.all()}


def test_a_promotion_and_a_rollback_are_followed(filled):
    fleet = opened(filled, "denoise", "denoise/1")
    before = fleet.get("denoise")
    let_answer(filled, "denoise", 2)
    fleet._follow(strict=False)
    assert numbers(fleet) == {"denoise": 2, "denoise/1": 1}
    assert before.version.number == 1  # whoever has it, keeps it
    let_answer(filled, "denoise", 1)
    fleet._follow(strict=False)
    assert numbers(fleet)["denoise"] == 1
    assert fleet.news == ["denoise: version 1", "denoise/1: version 1"] + [
        "denoise: version 2",
        "denoise: version 1",
    ]


def test_all_champions_that_can_be_served_are_by_default_also_those_to_come(filled):
    fleet = opened(filled)
    assert numbers(fleet) == {"denoise": 1}
    let_answer(filled, "waiting", 1)
    fleet._follow(strict=False)
    assert numbers(fleet) == {"denoise": 1, "waiting": 1}
    filled.delete_alias("waiting", "champion")
    fleet._follow(strict=False)
    assert numbers(fleet) == {"denoise": 1}
    assert fleet.news[-1] == "waiting has no version to serve any more"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("denoize", "no model 'denoize' is registered. Did you mean 'denoise'?"),
        ("denoise/7", "denoise has no version 7; its versions: 1, 2"),
        ("waiting", "waiting has no champion"),
        ("clothes", "clothes/1 is a classification model; restorers and GANs can be served."),
        ("a/b/c", "write NAME, NAME@ALIAS or NAME/VERSION"),
    ],
)
def test_what_can_not_be_served_is_refused_before(filled, reference, reason):
    with pytest.raises(UsageError) as error:
        opened(filled, reference)
    assert reason in str(error.value)


def test_a_version_that_is_broken_leaves_the_last_one(filled, folder, caplog):
    weights_before = set(filled.project.root.rglob("weights.safetensors"))
    number = register(filled, folder, "denoise", "restoration", GREY)
    for weights in set(filled.project.root.rglob("weights.safetensors")) - weights_before:
        weights.write_bytes(b"damaged")
        (weights.parent / "network.py").write_text("import nothing_of_that_name")
    fleet = opened(filled, "denoise")
    let_answer(filled, "denoise", number)
    fleet._follow(strict=False)
    assert numbers(fleet) == {"denoise": 1}
    with pytest.raises(UsageError, match="no model that restores or generates has a champion"):
        opened(filled)  # all champions are one, and that is broken
    assert f"version {number} of denoise is not served" in caplog.text
    let_answer(filled, "denoise", 2)
    fleet._follow(strict=False)
    assert numbers(fleet) == {"denoise": 2}
    let_answer(filled, "denoise", 1)


def test_while_the_registry_is_away_the_last_versions_answer(filled, monkeypatch):
    monkeypatch.setattr("atelier.service.fleet.EVERY_SECONDS", 0.05)
    fleet = opened(filled, "denoise")
    follower = threading.Thread(target=fleet.follow)
    follower.start()
    try:
        with renamed(filled.project.root / "mlflow.db", "registered_models"):
            wait_until(lambda: "the registry at" in fleet.problem)
            assert numbers(fleet) == {"denoise": 1}
        wait_until(lambda: not fleet.problem)
    finally:
        fleet.end()
        follower.join()


@contextmanager
def renamed(database, table):
    """Without a table for a while, so that every question about models fails."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO gone")
    try:
        yield
    finally:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute(f"ALTER TABLE gone RENAME TO {table}")


def wait_until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen within 30 s")
