"""What is inherited from a shell, and what our processes make of it."""

import os
import subprocess
import sys

import httpx
import pytest

from atelier.project import Project, set_environment

FOREIGN = {
    "PREFECT_PROFILE": "company",
    "PREFECT_PROFILES_PATH": "/nonexistent/profiles.toml",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://nobody@127.0.0.1:9/x",
    "MLFLOW_EXPERIMENT_NAME": "theirs",
    "MLFLOW_RUN_ID": "theirs",
}
CREDENTIALS = {"MLFLOW_TRACKING_USERNAME": "me", "PREFECT_API_KEY": "secret"}


@pytest.fixture
def shell(tmp_path):
    """`shell(variables)` sets the environment of a project in a shell that has these."""
    (tmp_path / "params.yaml").touch()
    before = dict(os.environ)

    def set_in(variables):
        for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_"))]:
            del os.environ[name]
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]
        os.environ.update(variables)
        set_environment(Project(tmp_path))
        return os.environ

    yield set_in
    os.environ.clear()
    os.environ.update(before)


def test_what_another_project_left_is_dropped(shell):
    found = shell(FOREIGN | CREDENTIALS)
    assert not (FOREIGN | CREDENTIALS).keys() & found.keys()
    assert found["MLFLOW_TRACKING_URI"].startswith("sqlite:///")
    assert "PREFECT_API_URL" not in found


def test_servers_that_the_user_names_win_with_what_they_need(shell):
    named = {"PREFECT_API_URL": "http://prefect/api", "MLFLOW_TRACKING_URI": "http://mlflow"}
    found = shell(FOREIGN | CREDENTIALS | named)
    assert {name: found.get(name) for name in named | CREDENTIALS} == named | CREDENTIALS
    assert not FOREIGN.keys() & found.keys()


def test_an_empty_address_names_no_server(shell):
    found = shell({"PREFECT_API_URL": "", "MLFLOW_TRACKING_URI": " "})
    assert found["MLFLOW_TRACKING_URI"].startswith("sqlite:///")
    assert "PREFECT_API_URL" not in found


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "ftp://x:1"])
def test_no_proxy_stands_between_us_and_our_own_servers(shell, name, proxy, live_page):
    shell({name: proxy, "no_proxy": ".corp.example"})
    assert os.environ["no_proxy"].startswith(".corp.example,")
    with httpx.Client() as client:  # as Prefect makes it; one proxy of a strange kind breaks it
        assert client.get(live_page).text == "here"


def test_a_user_without_a_name_or_a_home_can_sign(tmp_path):
    """In a process of its own: as a user whom passwd does not know."""
    script = (
        "import os, pathlib, sys\n"
        "import atelier.machine.stack_record\n"
        "from atelier.project import Project, set_environment\n"
        "from atelier.registry.decisions import sign_now\n"
        "os.setuid(54321)\n"  # who may perhaps not read these modules
        "set_environment(Project(pathlib.Path(sys.argv[1])))\n"
        "print(sign_now()['who'], pathlib.Path.home())\n"
    )
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.stdout.split() == ["uid-54321", str(tmp_path / ".atelier" / "home")], done.stderr


@pytest.fixture
def live_page():
    """The address of a page of this machine that says `here`."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
