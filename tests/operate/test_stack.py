"""The stack as a person has it: real servers, real schedules, real kills. Part of `make ci`."""

import os
import signal
import socket
import time

import pytest

from tests.operate.stacked import Stacked, eventually

pytestmark = [pytest.mark.slow, pytest.mark.service]


def test_up_is_idempotent_and_a_tick_does_what_is_stale_and_says_why_nothing_is(project):
    project.write(1, "{nightly: {every: 15s}}")
    assert "schedules created: nightly" in project.atelier("up")
    before = project.pids()
    assert "0 changes" in project.atelier("up")
    assert project.pids() == before
    eventually(
        lambda: any("nothing to do" in (message or "") for _, _, message in project.flow_runs())
    )
    said = [message for _, state, message in project.flow_runs() if state == "COMPLETED"]
    assert any(
        "photos ingested (not ingested yet); denoise/1 promoted" in message for message in said
    )
    parts = project.status()["parts"]
    assert {part["part"] for part in parts} == {"supervisor", "prefect", "mlflow", "runner"}
    assert all(part["state"] == "up" for part in parts)


def test_of_two_runs_triggered_at_once_one_trains_and_the_other_says_who_is_at_work(project):
    longer = ["models.denoise.training.kimg=20"]
    project.write(1, '{nightly: {cron: "0 0 29 2 *"}}')
    project.atelier("schedule", "sync")
    names = [project.trigger("nightly", overrides=longer) for _ in range(2)]
    eventually(
        lambda: all(project.flow_run(name)[0] in ("COMPLETED", "CANCELLED") for name in names)
    )
    ended = dict(project.flow_run(name) for name in names)
    assert "denoise/2 " in ended["COMPLETED"]
    assert "is at work in" in ended["CANCELLED"]


def test_what_is_no_longer_declared_is_deleted_from_the_server(project):
    project.write(1, "{}")
    assert "schedules deleted: nightly" in project.atelier("schedule", "sync")
    assert project.status()["schedules"] == []


def test_a_changed_picture_starts_one_run_and_a_touched_or_renamed_one_none(project):
    project.write(1, "{watch: {every: 15s}}")
    project.atelier("schedule", "sync")
    looked = "nothing to do: the sources of all 1 datasets hold what data/ does"
    eventually(lambda: any(message == looked for _, _, message in project.flow_runs()))
    os.utime(project.root / "raw" / "d" / "0.png")
    (project.root / "raw" / "d" / "2.png").rename(project.root / "raw" / "d" / "two.png")
    count = sum(message == looked for _, _, message in project.flow_runs())
    eventually(lambda: sum(message == looked for _, _, message in project.flow_runs()) >= count + 2)
    acted = [
        message for _, _, message in project.flow_runs() if message and "photos ingested" in message
    ]
    project.picture(4, 60)
    eventually(
        lambda: (
            len([m for _, _, m in project.flow_runs() if m and "photos ingested" in m]) > len(acted)
        )
    )
    count = sum(message == looked for _, _, message in project.flow_runs())
    eventually(lambda: sum(message == looked for _, _, message in project.flow_runs()) >= count + 2)
    now = [
        message for _, _, message in project.flow_runs() if message and "photos ingested" in message
    ]
    assert len(now) == len(acted) + 1


def test_each_part_that_is_killed_comes_back(project):
    for name in ("mlflow", "prefect", "runner", "supervisor"):
        before = project.pids()[name]
        os.kill(before, signal.SIGKILL)
        eventually(
            lambda name=name, before=before: (
                project.pids()[name] not in (None, before) and project.all_up()
            )
        )
        assert before not in {
            os.getpgid(process.pid) for process in project.processes()
        }  # nor a child of it


def test_a_killed_training_is_ended_on_both_sides_and_goes_on_in_the_same_run(project):
    project.write(400, "{nightly: {every: 20s}}")
    project.atelier("schedule", "sync")
    lock = project.root / ".atelier" / "run.lock"
    training = eventually(
        lambda: list(project.root.glob(".atelier/checkpoints/denoise/*/*")) and lock.read_text()
    )
    os.kill(int(training.split(",")[0]), signal.SIGKILL)
    dead = training.split(",")[1].split()[0]
    eventually(
        lambda: any(name == dead and state == "CRASHED" for name, state, _ in project.flow_runs())
    )
    runs = project.mlflow_runs()
    eventually(lambda: lock.read_text() not in ("", training))
    assert project.mlflow_runs().keys() == runs.keys()


def test_down_lets_a_training_write_its_checkpoint_and_leaves_no_process(project):
    eventually(project.trains)  # what a killed training held on the server is free after 60 s
    before = project.newest_checkpoint()
    eventually(lambda: project.newest_checkpoint() > before)  # it is past its preparations
    began = time.monotonic()
    project.atelier("down")
    assert time.monotonic() - began < 20
    assert project.processes() == []
    assert "RUNNING" not in project.mlflow_runs().values()
    assert list(project.root.glob(".atelier/checkpoints/denoise/*/*"))
    assert "the stack is down" in project.atelier("status")
    assert "the stack was not up" in project.atelier("down")


def test_a_stack_that_can_not_be_is_refused_in_words(project, tmp_path):
    elsewhere = Stacked(tmp_path)
    assert "no params.yaml here or above" in elsewhere.atelier("up", check=False)
    elsewhere.write(1, '{nightly: {cron: "0 25 * * *"}}')
    assert "hour '25' is outside 0-23" in elsewhere.atelier("up", check=False)
    elsewhere.write(1, "{}")
    assert "has no .dvc folder" in elsewhere.atelier("up", check=False)
    assert elsewhere.processes() == []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = project.atelier("up", "--mlflow-port", str(port), check=False)
    assert f"port {port}, asked for mlflow, is taken" in said
    assert project.processes() == []
