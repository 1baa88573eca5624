"""Projects that were moved or copied, with a real MLflow and real files."""

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking._tracking_service import utils

from atelier.errors import RegistryError
from atelier.machine.places import database_url
from atelier.project import Project
from atelier.registry import Registry
from atelier.registry.connection import mend_places

pytestmark = pytest.mark.service

STRANGE = "a b#c%20?ü"


@pytest.fixture
def made(tmp_path, migrated_database, tracking_at):
    """A project with a run that logged `a.txt`, in a folder of a strange name; and the run's id."""
    root = tmp_path / STRANGE
    root.mkdir()
    shutil.copy(migrated_database, root / "mlflow.db")
    with tracking_at(database_url(root / "mlflow.db")):
        registry = Registry(Project(root))
        run_id = registry.runs.start("m", "f1", {"params.sha256": "0"})
        registry.runs.log_files(run_id, "", {"a.txt": "first"})
        registry.runs.end(run_id, "FINISHED")
    return Project(root), run_id


def open_at(root, tracking_at):
    utils._artifact_repos_cache.clear()  # as in another process
    with tracking_at(database_url(root / "mlflow.db")):
        return Registry(Project(root))


def addresses(root):
    with sqlite3.connect(root / "mlflow.db") as database:
        runs = database.execute("SELECT artifact_uri FROM runs")
        experiments = database.execute("SELECT artifact_location FROM experiments WHERE name = 'm'")
        return [row[0] for row in [*runs, *experiments]]


def test_a_moved_project_finds_its_files(made, tracking_at, tmp_path, caplog):
    project, run_id = made
    new = tmp_path / "elsewhere" / "b?c %41"
    new.parent.mkdir()
    project.root.rename(new)
    registry = open_at(new, tracking_at)
    assert registry.runs.read_bytes(run_id, "a.txt") == b"first"
    assert f"the project was moved from {project.root}" in caplog.text
    caplog.clear()
    open_at(new, tracking_at)
    assert not caplog.text  # once


def test_a_copy_never_writes_into_its_original(made, tracking_at, tmp_path, caplog):
    project, run_id = made
    copy = tmp_path / "copy"
    shutil.copytree(project.root, copy)
    registry = open_at(copy, tracking_at)
    registry.runs.log_files(run_id, "", {"a.txt": "second"})
    registry.runs.log_files(registry.runs.start("m", "f2", {}), "", {"b.txt": "new"})
    assert "was copied from" in caplog.text
    file = Path("mlruns", run_id, "artifacts", "a.txt")
    assert (project.root / file).read_text() == "first"
    assert (copy / file).read_text() == "second"
    assert len(list(copy.rglob("b.txt"))) == 1
    assert not list(project.root.rglob("b.txt"))


def test_lost_files_are_named_and_new_ones_are_written_here(made, tracking_at, tmp_path):
    project, run_id = made
    new = tmp_path / "new"
    project.root.rename(new)
    shutil.rmtree(new / "mlruns")
    registry = open_at(new, tracking_at)
    lost = rf"the files of run {run_id} are lost.*atelier adopt"
    with pytest.raises(RegistryError, match=lost):
        registry.runs.read_bytes(run_id, "a.txt")
    with pytest.raises(RegistryError, match=lost):
        registry.runs.pictures(run_id)
    registry.runs.log_files(registry.runs.start("m", "f2", {}), "", {"b.txt": "new"})
    assert [path.name for path in (new / "mlruns").rglob("*.txt")] == ["b.txt"]
    assert not project.root.exists()


def test_files_of_other_places_stay_there(made, tracking_at, tmp_path):
    project, run_id = made
    other = tmp_path / "other"
    (other / "mlruns" / "x" / "artifacts").mkdir(parents=True)
    with sqlite3.connect(project.root / "mlflow.db") as database:
        foreign = (other / "mlruns" / "x" / "artifacts").as_uri()
        columns = "run_uuid, name, lifecycle_stage, experiment_id, artifact_uri"
        for name, uri in (("there", foreign), ("cloud", "s3://bucket/mlruns/y/artifacts")):
            values = (name, name, "active", 1, uri)
            database.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?)", values)
    before = addresses(project.root)
    (left,) = mend_places(project)
    assert addresses(project.root) == before
    assert (left.count, left.left, left.copied) == (0, 1, True)
    assert f"in {other}" in str(left)


def test_two_at_once_mend_it_once(made, tmp_path, caplog):
    project, _ = made
    new = tmp_path / "new"
    project.root.rename(new)
    threads = [threading.Thread(target=mend_places, args=[Project(new)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caplog.text.count("was moved from") == 1
    assert all(address.startswith(f"{new.as_uri()}/mlruns") for address in addresses(new))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_that_cant_be_written_is_named(made, tmp_path):
    project, _ = made
    new = tmp_path / "new"
    project.root.rename(new)
    (new / "mlflow.db").chmod(0o400)
    with pytest.raises(RegistryError, match=r"mlflow\.db may name files .* atelier adopt"):
        mend_places(Project(new))


def test_what_mlflow_keeps_by_absolute_addresses_is_all_known(registry, tmp_path):
    """A new version of MLflow may keep an address in another column."""
    from atelier.registry.relocation import COLUMNS

    run_id = registry.runs.start("m", "f1", {"params.sha256": "0"})
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(name="m", python_model=_identity, pip_requirements=[])
    registry._client.create_registered_model("m")
    registry._client.create_model_version("m", logged.model_uri, run_id, model_id=logged.model_id)
    root = str(registry.project.root)
    holders = set()
    with sqlite3.connect(Path(root) / "mlflow.db") as database:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (table,) in database.execute(tables).fetchall():
            for column in (row[1] for row in database.execute(f"PRAGMA table_info({table})")):
                query = f'SELECT 1 FROM {table} WHERE instr("{column}", ?)'
                if database.execute(query, (root,)).fetchone():
                    holders.add((table, column))
    assert holders
    assert holders <= set(COLUMNS)


def _identity(model_input: list[str]) -> list[str]:
    return model_input
