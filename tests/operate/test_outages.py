"""What takes the stack too long for `make ci`.

Missed ticks, kills to the end, ten quiet minutes. By hand.
"""

import os
import signal
import time

import pytest

from tests.operate.stacked import eventually

pytestmark = [pytest.mark.slow, pytest.mark.service]


def test_of_the_ticks_missed_by_a_stopped_runner_one_runs_and_the_others_say_why_not(project):
    project.write(1, "{nightly: {every: 20s}}")
    project.atelier("up")
    eventually(
        lambda: any("nothing to do" in (message or "") for _, _, message in project.flow_runs())
    )
    runner = project.pids()["runner"]
    os.kill(runner, signal.SIGSTOP)
    known = {name for name, state, _ in project.flow_runs() if state != "SCHEDULED"}
    time.sleep(105)
    os.kill(runner, signal.SIGCONT)
    continued = time.time()
    eventually(lambda: time.time() - continued > 30)
    missed = [run for run in project.flow_runs(until=continued) if run[0] not in known]
    assert len(missed) >= 5
    assert [state for _, state, _ in missed if state != "CANCELLED"] == ["COMPLETED"]
    assert all(
        message.startswith("dropped: the tick of ")
        for _, state, message in missed
        if state == "CANCELLED"
    )


def test_a_training_killed_under_schedule_ends_with_the_same_bits_in_the_same_run(project):
    project.write(100, "{nightly: {every: 20s}}")
    project.atelier("schedule", "sync")
    lock = project.root / ".atelier" / "run.lock"
    training = eventually(
        lambda: list(project.root.glob(".atelier/checkpoints/denoise/*/*")) and lock.read_text()
    )
    runs = project.mlflow_runs()
    os.kill(int(training.split(",")[0]), signal.SIGKILL)
    dead = training.split(",")[1].split()[0]
    eventually(
        lambda: any(name == dead and state == "CRASHED" for name, state, _ in project.flow_runs())
    )
    eventually(lambda: set(project.mlflow_runs().values()) == {"FINISHED"})
    assert project.mlflow_runs().keys() == runs.keys()
    project.write(100, "{}")
    project.atelier("schedule", "sync")
    assert "identical" in project.atelier("reproduce", "denoise", "2")


@pytest.mark.timeout(1200)
def test_ten_minutes_of_healthy_trainings_leave_no_run_taken_for_dead(project):
    project.write(1, '{nightly: {cron: "0 0 29 2 *"}}')
    project.atelier("schedule", "sync")
    names = []
    for minute in range(10):
        names.append(
            project.trigger("nightly", overrides=[f"models.denoise.training.kimg={30 + minute}"])
        )
        time.sleep(60)
    eventually(
        lambda: all(project.flow_run(name)[0] not in ("RUNNING", "PENDING") for name in names)
    )
    assert {project.flow_run(name)[0] for name in names} == {"COMPLETED"}
