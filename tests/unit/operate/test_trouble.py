"""What goes wrong around the stack is one clear sentence: servers, damaged files, other users."""

import http.server
import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from atelier.cli import operate
from atelier.errors import AtelierError, UsageError
from atelier.machine.processes import identify
from atelier.machine.stack_record import (
    Part,
    Stack,
    folder,
    make_folder,
    read_record,
    write_record,
)
from atelier.operate import parts, stack
from atelier.operate.named import refuse_silent
from atelier.operate.readiness import NEEDED_MB, refuse_broken_databases, refuse_full_disk
from atelier.operate.supervisor import AlreadySupervisedError, supervising
from atelier.project import Project, find_project, open_lock, set_environment

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").write_text("seed: 7\n")
    return Project(tmp_path)


@contextmanager
def server(pages):
    """A server on this machine that knows these pages, and its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"<html>")

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@contextmanager
def another_user():
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_server_that_is_what_it_should_be_is_taken(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # dead, and not for this machine
    with server({"/api/health": b"true", "/health": b"OK"}) as address:
        refuse_silent("prefect", f"{address}/api")
        refuse_silent("mlflow", f"{address}/")


def test_a_server_of_another_kind_is_told_from_one_that_is_not_there():
    with server({"/health": b"<html>Prefect's pages answer to everything"}) as address:
        for name in ("prefect", "mlflow"):
            with pytest.raises(AtelierError, match=f"{address}, and what answers there is no"):
                refuse_silent(name, address)
        with pytest.raises(AtelierError, match="is no Prefect server"):
            refuse_silent("prefect", f"{address}/api")
    with pytest.raises(AtelierError, match="nothing answers there .*refused.*unset PREFECT_API"):
        refuse_silent("prefect", f"{address}/api")


@pytest.mark.parametrize("address", ["nonsense", "http://", "http://[::1", "ftp://x", "http://x:y"])
def test_what_is_no_address_is_refused_with_an_example(address):
    with pytest.raises(UsageError, match="no address of a server.*http://127.0.0.1:4200/api"):
        refuse_silent("prefect", address)


def test_status_shows_what_it_knows_where_a_server_is_silent(project, monkeypatch, capsys):
    def fail(project):
        raise AtelierError("nothing answers")

    monkeypatch.chdir(project.root)
    monkeypatch.setattr(operate, "open_project", lambda: project)
    monkeypatch.setattr(operate, "_schedules_status", fail)
    monkeypatch.setattr(operate, "_waiting_versions", lambda project: ["denoise/3"])
    with pytest.raises(typer.Exit):
        operate.status(as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["waiting"] == ["denoise/3"]
    assert told["problems"] == ["nothing answers"]


def test_a_damaged_database_is_found_before_anything_is_started(project):
    database = project.root / "mlflow.db"
    refuse_broken_databases(project, ["prefect", "mlflow"])  # there is none yet
    with sqlite3.connect(database) as connection:
        connection.execute("create table words (word text)")
        connection.executemany("insert into words values (?)", [("x" * 1000,)] * 50)
    connection.close()
    refuse_broken_databases(project, ["prefect", "mlflow"])
    whole = database.read_bytes()
    for content in (whole[:20000], b"no database" * 1000):
        database.write_bytes(content)
        with pytest.raises(AtelierError, match=r"mlflow.db is no database .* Put back a copy"):
            refuse_broken_databases(project, ["prefect", "mlflow"])
        refuse_broken_databases(project, ["prefect"])  # another's server, so not ours to look at


def test_a_full_disk_is_found_by_writing_and_nothing_is_left(project):
    code = (
        "import pathlib, resource, sys; from atelier.operate.readiness import refuse_full_disk\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({(NEEDED_MB - 1) * 2**20},) * 2)\n"
        "from atelier.project import Project\n"
        "try: refuse_full_disk(Project(pathlib.Path(sys.argv[1])))\n"
        "except ValueError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(project.root)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"has no room for {NEEDED_MB} MB" in told
    assert "Make room there, then: atelier up." in told
    refuse_full_disk(project)
    assert list(folder(project.root).iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(project):
    project.cache.mkdir()
    folder(project.root).write_text("")
    with pytest.raises(UsageError, match="stack can't be made a folder: File exists"):
        make_folder(project.root)
    assert read_record(project.root) is None


@pytest.mark.parametrize(
    "change",
    [
        {"supervisor": {"host": 1, "pid": "x", "started": "y"}},
        {"supervisor": {"host": "x", "pid": -1, "started": 0}},
        {"parts": {"prefect": 7}},
        {"parts": []},
        {"parts": {"prefect": {"name": "prefect", "address": "", "state": "new", "process": None}}},
    ],
)
def test_a_record_with_wrong_types_is_no_record(project, change):
    make_folder(project.root)
    write_record(project.root, Stack(str(project.root), identify()))
    path = folder(project.root) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    assert read_record(project.root) is None


def test_who_asks_for_a_supervisor_keeps_none_away(project):
    asks = supervising(project)
    asks.__enter__()
    with pytest.raises(AlreadySupervisedError), supervising(project):
        pass
    threading.Timer(0.2, lambda: asks.__exit__(None, None, None)).start()
    with supervising(project, patience=2.0):
        pass


def test_two_servers_never_get_one_port(project, monkeypatch):
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    first = parts.choose_port("prefect", None, None, ())
    given = stack._addresses(project, {"prefect": None, "mlflow": first})
    assert parts.port_of(given["mlflow"]) == first
    assert parts.port_of(given["prefect"]) != first
    with pytest.raises(UsageError, match=f"port {first} was asked for both"):
        stack._addresses(project, {"prefect": first, "mlflow": first})


def test_a_port_of_the_system_is_not_called_taken(monkeypatch):
    def refuse(self, address):
        raise PermissionError

    monkeypatch.setattr(parts.socket.socket, "bind", refuse)
    with pytest.raises(UsageError, match="port 80, asked for mlflow, is not for this user"):
        parts.choose_port("mlflow", 80, None, ())


@needs_root
def test_the_stack_of_another_user_is_not_ended(project):
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    make_folder(project.root)
    part = Part("mlflow", "http://x", "up", identify(sleeper.pid))
    write_record(project.root, Stack(str(project.root), identify(sleeper.pid), {"mlflow": part}))
    os.chmod(project.root, 0o755)
    running = read_record(project.root)
    with another_user(), pytest.raises(UsageError, match="belongs to the user root .*Only"):
        stack._refuse_foreign(running)
    assert sleeper.poll() is None
    stack._refuse_foreign(running)
    sleeper.kill()
    sleeper.wait()


def test_what_goes_on_without_a_record_is_found_by_its_mark(project):
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(sleep, env={**os.environ, parts.MARK: str(project.root)})
    other = subprocess.Popen(sleep, env={**os.environ, parts.MARK: f"{project.root}/inner"})
    make_folder(project.root)
    (folder(project.root) / "record.json").write_text("{")
    assert stack.take_down(project)
    assert ours.wait(5) != 0
    assert not stack.take_down(project)
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize("trouble", [AtelierError("mlflow died"), KeyboardInterrupt()])
def test_an_up_that_fails_ends_what_it_started(project, monkeypatch, trouble):
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    started = []

    def start(project, servers):
        started.append(subprocess.Popen(sleep, env={**os.environ, parts.MARK: str(project.root)}))
        return started[0]

    def fail(project, process):
        raise trouble

    monkeypatch.setattr(stack, "start_supervisor", start)
    monkeypatch.setattr(stack, "_wait_until_up", fail)
    with pytest.raises(AtelierError, match=r"mlflow died|stopped; what"):
        stack.bring_up(project, parts.Servers({}, ()))
    assert started[0].wait(5) != 0


@needs_root
def test_a_folder_of_another_user_is_named_as_such(monkeypatch):
    project = Project(Path("/"))  # a folder that everybody may enter
    with another_user(), pytest.raises(UsageError, match="It belongs to the user root: work as"):
        open_lock(project, "run")


@pytest.mark.parametrize("kind", ["a folder", "a link to nothing"])
def test_a_params_yaml_that_is_no_file_is_not_passed_over(project, kind):
    project.params_file.unlink()
    if kind == "a folder":
        project.params_file.mkdir()
    else:
        project.params_file.symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"params.yaml is no file, or a link to nothing"):
        find_project(project.root)


def test_a_proxy_is_kept_out_of_our_own_servers(project, monkeypatch):
    monkeypatch.setenv("no_proxy", "corp.example")
    monkeypatch.delenv("NO_PROXY", raising=False)
    before = dict(os.environ)
    try:
        set_environment(project)
        assert os.environ["no_proxy"] == "corp.example,localhost,127.0.0.1"
        assert os.environ["NO_PROXY"] == "localhost,127.0.0.1"
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_logs_before_any_up_say_that_there_are_none(project, monkeypatch, capsys):
    monkeypatch.chdir(project.root)
    operate.logs(None, 20)
    assert capsys.readouterr().out.count("nothing was written yet") == 5


def test_a_reader_that_had_enough_is_no_error(project):
    make_folder(project.root)
    (folder(project.root) / "runs.log").write_text("a line\n" * 200_000)
    command = f"{sys.executable} -c 'from atelier.cli import main; main()' logs runs -n 200000"
    script = f"set -o pipefail; {command} | head -1"
    bash = ["bash", "-c", script]
    done = subprocess.run(bash, cwd=project.root, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("== ")
