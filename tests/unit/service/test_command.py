"""`atelier serve` and `mlflow models serve` as people start them: processes, sockets, signals."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from tests.support.served import GREY, let_answer, register

pytestmark = pytest.mark.service

BIN = Path(sys.executable).parent
BOUNDARY = "picture"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture(scope="module")
def two_versions(registry, tmp_path_factory):
    """A project with two versions of a denoiser, of which the first is champion."""
    (registry.project.root / "params.yaml").write_text("seed: 7\n")
    for _ in range(2):
        register(registry, tmp_path_factory.mktemp("bundles"), "denoise", "restoration", GREY)
    let_answer(registry, "denoise", 1)
    return registry


@contextmanager
def running(command, root, **options):
    """A process that doesn't outlive what is done with it."""
    process = subprocess.Popen(command, cwd=root, text=True, start_new_session=True, **options)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@contextmanager
def serving(registry, *arguments):
    """A running `atelier serve`, and its port."""
    command = [BIN / "atelier", "serve", *arguments, "--port", "0"]
    with running(command, registry.project.root, stdout=subprocess.PIPE) as process:
        yield process, int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])


@pytest.fixture(scope="module")
def port(two_versions):
    with serving(two_versions, "denoise", "--waiting", "4") as (_, port):
        yield port


def upload(content):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(port, content):
    """Status, version, and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/restore/denoise", upload(content), FORM)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers.get("X-Model-Version"), body


def test_a_promotion_and_a_rollback_under_load_lose_no_request(two_versions, port, encode):
    content = encode(size=(64, 64))
    seen = []
    ended = threading.Event()

    def client():
        while not ended.is_set():
            status, version, _ = ask(port, content)
            seen.append((time.monotonic(), status, version))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for each in clients:
        each.start()
    changes = []
    for number in (2, 1):
        time.sleep(1)
        let_answer(two_versions, "denoise", number)
        changes.append(time.monotonic())
        time.sleep(5)
    ended.set()
    for each in clients:
        each.join()
    assert {status for _, status, _ in seen} == {200}
    for number, when in zip((2, 1), changes, strict=True):
        after = [version for moment, _, version in seen if when + 5 < moment < when + 6]
        assert set(after) == {str(number)}
    assert len(seen) > 100


def test_a_thousand_at_once_are_answered_or_told_to_come_again(port, encode):
    content = encode(size=(200, 200))
    statuses = []

    def client():
        statuses.append(ask(port, content)[0])

    clients = [threading.Thread(target=client) for _ in range(1000)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert len(statuses) == 1000
    assert set(statuses) == {200, 429}
    assert ask(port, content)[0] == 200


def test_clients_that_go_away_leave_the_service_there(port, encode):
    body = upload(encode(size=(300, 300)))
    for part in (body, body[: len(body) // 2], b""):
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                fields = {"Host": "a", "Content-Length": len(body), **FORM}
                head = "POST /restore/denoise HTTP/1.1\r\n"
                head += "".join(f"{key}: {value}\r\n" for key, value in fields.items())
                connection.sendall(head.encode() + b"\r\n" + part)
    statuses = []
    while 200 not in statuses and len(statuses) < 50:  # until it has seen that they are gone
        statuses.append(ask(port, encode())[0])
        time.sleep(0.1)
    assert statuses[-1] == 200


def test_what_is_at_work_is_answered_before_the_end(two_versions, encode):
    answers = []
    large = encode(size=(2000, 1500))
    with serving(two_versions) as (process, port):
        ask(port, encode())
        asking = threading.Thread(target=lambda: answers.append(ask(port, large)))
        asking.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert process.wait(60) == 0
    assert answers[0][0] == 200


def test_a_port_that_is_taken_is_refused_at_once(two_versions, port):
    done = subprocess.run(
        [BIN / "atelier", "serve", "--port", str(port)],
        cwd=two_versions.project.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f"127.0.0.1 port {port} can't be listened to: Address already in use." in done.stderr


@pytest.mark.slow
def test_mlflow_serves_the_same_version_over_http(two_versions):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own_port = probe.getsockname()[1]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [BIN / "mlflow", "models", "serve", "-m", "models:/denoise/1", "-p", str(own_port)]
    command += ["--env-manager", "local"]
    root = two_versions.project.root
    x_NCHW = np.random.default_rng(0).random((2, 1, 37, 31), np.float32)
    with running(command, root, env=environment):
        answer = mlflow_answer(own_port, {"inputs": x_NCHW.tolist()})
    wanted = two_versions.load(two_versions.version("denoise", 1)).predict(x_NCHW)
    assert np.abs(np.array(answer["predictions"]) - wanted).max() < 1e-5


def mlflow_answer(port, question):
    """What MLflow's server answers, as soon as it is up."""
    for _ in range(120):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            kind = {"Content-Type": "application/json"}
            connection.request("POST", "/invocations", json.dumps(question), kind)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return json.loads(answer.read())
        except ConnectionError:
            time.sleep(0.5)
    pytest.fail("MLflow's server did not come up")
