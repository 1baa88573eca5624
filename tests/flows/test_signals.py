"""`atelier run` on a real terminal, told to end at each stage; the next run goes on from there.

One sequence of stages, with another signal at each, belongs to CI. The whole matrix, every signal
at every stage (8 minutes): ATELIER_ALL_SIGNALS=1 pytest -s tests/flows/test_signals.py
"""

import os
import pty
import re
import select
import signal
import sqlite3
import sys
import time
from contextlib import closing

import pytest

from atelier.machine.processes import with_variable
from tests.operate.stacked import new_stacked

pytestmark = [pytest.mark.flow, pytest.mark.slow]

CTRL_C, CTRL_C_TWICE, TERM, HANG_UP = "Ctrl-C", "Ctrl-C twice", "SIGTERM", "SIGHUP"
CODES = {CTRL_C: 130, CTRL_C_TWICE: 130, TERM: 143, HANG_UP: 129}
# What the terminal shows when a stage begins.
STAGES = {
    "start": rb"denoise",
    "ingest": rb"",
    "training": rb"kimg  ETA",
    "evaluation": rb"registered as version",
    "inspection": rb"evaluated: \d+ scores",
    "promotion": rb"inspected: ",
}
MIXED = dict(zip(STAGES, (TERM, CTRL_C, HANG_UP, CTRL_C_TWICE, TERM, CTRL_C), strict=True))
EACH = [dict.fromkeys(STAGES, name) for name in CODES]
SEQUENCES = EACH if os.environ.get("ATELIER_ALL_SIGNALS") else [MIXED]
SECONDS = 5.0


class Terminal:
    """`atelier run` as somebody at a terminal sees it."""

    def __init__(self, project):
        self.shown = b""
        self.mark = f"{project.root}-{time.monotonic()}"
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            prefixes = ("PREFECT_", "MLFLOW_")
            kept = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
            own = {"OMP_NUM_THREADS": "1", "GIT_CONFIG_GLOBAL": os.devnull, "SIGNALS": self.mark}
            os.chdir(project.root)
            command = [sys.executable, "-c", "from atelier.cli import main; main()", "run"]
            os.execve(command[0], command, {**kept, **own})

    def read(self, seconds=0.05):
        """Take what is shown; whether the terminal is still open on the other side."""
        if select.select([self.descriptor], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.descriptor, 65536)
            except OSError:
                return False
        return True

    def read_until(self, there, seconds=150):
        deadline = time.monotonic() + seconds
        while not there():
            assert self.read() and time.monotonic() < deadline, self.shown[-3000:].decode()

    def tell(self, how):
        if how in (CTRL_C, CTRL_C_TWICE):
            os.write(self.descriptor, b"\x03")  # the terminal sends it to the whole group
        elif how == TERM:
            os.kill(self.pid, signal.SIGTERM)
        else:
            os.kill(self.pid, signal.SIGHUP)
        if how == CTRL_C_TWICE:
            time.sleep(0.3)
            os.write(self.descriptor, b"\x03")

    def exit_code(self, seconds):
        """Of the process; it is killed if it does not end in time."""
        deadline = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            self.read()
        while self.read(0):
            if not select.select([self.descriptor], [], [], 0)[0]:
                break
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(status)


def states(path, query):
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=60)) as database:
        return [state for (state,) in database.execute(query)]


def prefect_states(root):
    try:
        return states(root / ".prefect" / "prefect.db", "select state_type from flow_run")
    except sqlite3.OperationalError:  # its tables are being made
        return []


def mlflow_states(root):
    return states(root / "mlflow.db", "select status from runs")


def interrupt(project, stage, how):
    """Run, tell the run to end at a stage; what it left, as a line of the table."""
    before = len(prefect_states(project.root))
    terminal = Terminal(project)
    if stage == "ingest":
        terminal.read_until(lambda: "RUNNING" in prefect_states(project.root)[before:])
    else:
        terminal.read_until(lambda: re.search(STAGES[stage], terminal.shown))
    told = time.monotonic()
    terminal.tell(how)
    code = terminal.exit_code(60)
    seconds = time.monotonic() - told
    children = [process.cmdline() for process in with_variable("SIGNALS", terminal.mark)]
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.shown.decode(errors="replace"))
    # The terminal itself shows a second Ctrl-C, wherever it comes.
    last = plain.replace("^C", "").strip().splitlines()[-1]
    in_mlflow, in_prefect = set(mlflow_states(project.root)), set(prefect_states(project.root))
    row = (stage, how, code, f"{seconds:.1f} s", len(children), in_mlflow or "", in_prefect or "")
    print(*row, last, sep=" | ", flush=True)
    if os.environ.get("ATELIER_SHOW"):
        print(terminal.shown.decode())
    return row, seconds, children, last


@pytest.fixture
def project(tmp_path):
    return new_stacked(tmp_path, kimg=30)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence["training"])
def test_a_run_told_to_end_at_each_stage_leaves_nothing_open_and_is_taken_up(project, sequence):
    problems = []
    for stage, how in sequence.items():
        row, seconds, children, last = interrupt(project, stage, how)
        expected = {
            "exit code": row[2] == CODES[how],
            "in time": seconds < SECONDS,
            "no child": not children,
            "a line": last.startswith("stopped by ") and "goes on from" in last,
            "MLflow": "RUNNING" not in row[5],
            "Prefect": not {"RUNNING", "PENDING", "CANCELLING"} & set(row[6]),
        }
        problems += [f"{stage}, {how}: {name}: {row}" for name, ok in expected.items() if not ok]
    terminal = Terminal(project)
    code = terminal.exit_code(150)
    assert code == 0, terminal.shown.decode()
    assert problems == []
    assert "COMPLETED" in prefect_states(project.root)
    assert set(mlflow_states(project.root)) == {"FINISHED"}
