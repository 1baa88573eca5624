"""The rules of what runs by itself, without a server.

Late ticks, dead runs, ticks when clocks change.
"""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule

from atelier.machine.processes import Identity, identify
from atelier.machine.stack_record import (
    Part,
    Stack,
    folder,
    read_record,
    running_stack,
    write_record,
)
from atelier.operate import parts
from atelier.params import Schedule
from atelier.project import Project
from flows import late, zombies
from flows.schedules import prefect_schedule

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def ticks(*minutes_ago):
    moments = [NOW - timedelta(minutes=minutes) for minutes in minutes_ago]
    return [SimpleNamespace(expected_start_time=moment, auto_scheduled=True) for moment in moments]


def test_of_five_late_ticks_the_newest_runs_all_run_or_none():
    due = ticks(5, 4, 3, 2, 1)
    assert late.ticks_to_drop(due, "newest", NOW) == due[:4]
    assert late.ticks_to_drop(due, "all", NOW) == []
    assert late.ticks_to_drop(due, "skip", NOW) == due
    assert (
        late.reason(due, "newest")
        == "dropped: the tick of 2026-11-28 11:59:00 UTC came due as well (late: newest)"
    )


def test_a_tick_that_is_on_time_always_runs():
    due = ticks(0.2)
    for rule in ("newest", "all", "skip"):
        assert late.ticks_to_drop(due, rule, NOW) == []


@pytest.fixture
def ended():
    """A process that was, and is no more."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    identity = identify(child.pid)
    child.send_signal(signal.SIGKILL)
    child.wait()
    return identity


def test_a_run_is_dead_when_its_process_is_and_never_while_it_lives(ended):
    long_ago = NOW - timedelta(days=1)
    assert zombies.why_dead(zombies.labels_of(identify(), long_ago), NOW) == ""
    assert "ended without a word" in zombies.why_dead(zombies.labels_of(ended, NOW), NOW)
    assert zombies.why_dead({}, NOW) == ""


def test_a_pid_that_another_process_has_by_now_proves_nothing_alive():
    own = identify()
    other = Identity(own.host, own.pid, own.started - 1000)
    assert other.is_gone()
    assert not own.is_gone()


def test_on_another_machine_only_a_long_silence_counts():
    far = Identity("elsewhere", os.getpid(), 0.0)
    assert not far.is_gone()
    assert zombies.why_dead(zombies.labels_of(far, NOW - timedelta(seconds=200)), NOW) == ""
    assert "no sign of life" in zombies.why_dead(
        zombies.labels_of(far, NOW - timedelta(seconds=400)), NOW
    )


@pytest.mark.parametrize(
    "day", [(2026, 3, 28), (2026, 10, 24)], ids=["an hour is missing", "an hour comes twice"]
)
def test_a_tick_of_the_hour_in_which_clocks_change_runs_once_a_day(day):
    zone = ZoneInfo("Europe/Berlin")
    wanted = prefect_schedule(Schedule(cron="30 2 * * *", timezone="Europe/Berlin"))
    schedule = CronSchedule(cron=wanted.cron, timezone=wanted.timezone)
    moments = asyncio.run(schedule.get_dates(4, start=datetime(*day, tzinfo=zone)))
    days = [moment.astimezone(zone).date() for moment in moments]
    assert days == [datetime(*day).date() + timedelta(days=number) for number in range(4)]


def test_the_record_of_a_stack_is_read_as_it_was_written_and_belongs_to_its_folder(tmp_path, ended):
    project = Project(tmp_path)
    folder(project.root).mkdir(parents=True)
    part = Part("mlflow", "http://127.0.0.1:5000", "up", ended, 1.0, 2, "")
    stack = Stack(str(tmp_path), identify(), {"mlflow": part})
    write_record(project.root, stack)
    assert read_record(project.root) == stack
    assert running_stack(project.root) == stack
    moved = Project(tmp_path.rename(tmp_path.with_name("moved")))
    assert running_stack(moved.root) is None


def test_a_stack_whose_processes_are_gone_is_not_talked_to(tmp_path, ended):
    project = Project(tmp_path)
    folder(project.root).mkdir(parents=True)
    write_record(
        project.root,
        Stack(str(tmp_path), ended, {"mlflow": Part("mlflow", "http://x", "up", ended)}),
    )
    assert running_stack(project.root) is None
    for damage in ("", "{", "[]", '{"root": 1}'):
        (folder(project.root) / "record.json").write_text(damage)
        assert read_record(project.root) is None


def test_a_port_that_is_taken_is_passed_over_or_named():
    with parts.socket.socket() as taken:
        taken.bind((parts.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port}, asked for mlflow, is taken"):
            parts.choose_port("mlflow", port, None, ())
        assert parts.choose_port("mlflow", None, port, ()) != port
    assert parts.choose_port("mlflow", None, port, ()) == port
