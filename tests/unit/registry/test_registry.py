import http.server
import json
import math
import os
import re
import socket
import socketserver
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch

from atelier.data.store import DatasetInfo
from atelier.errors import AtelierError, RegistryError, UsageError
from atelier.metrics.intervals import Score
from atelier.networks.classifiers import build_classifier
from atelier.project import Project
from atelier.registry import CHALLENGER, CHAMPION, Registry, RunLog, run_log
from atelier.registry.connection import _ping, patient
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained

pytestmark = pytest.mark.service

INFO = DatasetInfo(16, 1, 3, ("a", "b", "c"), {"train": 9})
CONFIG = {"name": "cnn", "channels": 1, "num_classes": 3, "image_size": 16, "width": 4}


@pytest.fixture
def run_id(registry, request):
    return registry.runs.start("scratch", request.node.name, {})


@pytest.fixture
def stored(registry, run_id):
    """What MLflow holds of the run."""
    return lambda: registry._client.get_run(run_id)


@pytest.fixture(scope="module")
def registered(registry, tmp_path_factory):
    """Three versions of one model, the first of them registered twice; (folder, run, version) of
    each."""
    made = []
    for number in (1, 2, 3):
        network = build_classifier(**CONFIG).eval()
        folder = tmp_path_factory.mktemp("bundles") / "bundle"
        write_bundle(folder, "classification", Trained(network, CONFIG, 0), INFO)
        run_id = registry.runs.start("letters", f"fingerprint {number}", {})
        made.append(
            (
                folder,
                run_id,
                registry.register("letters", run_id, folder, {"fingerprint": f"f{number}"}),
            )
        )
    return made


# -- runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [None, "FAILED", "KILLED"])
def test_an_unfinished_run_of_the_same_training_is_taken_up_again(registry, status):
    first = registry.runs.start("resumed", f"print {status}", {"git.commit": "old", "seed": "7"})
    if status:
        registry.runs.end(first, status)
        assert registry._client.get_run(first).info.status == status
    again = registry.runs.start("resumed", f"print {status}", {"git.commit": "new"})
    run = registry._client.get_run(again)
    assert again == first
    assert run.info.status == "RUNNING"
    assert run.data.tags["git.commit"] == "new"
    assert run.data.tags["seed"] == "7"


def test_a_finished_run_is_never_taken_up_again(registry):
    first = registry.runs.start("finished", "print", {})
    registry.runs.end(first, "FINISHED")
    assert registry.runs.start("finished", "print", {}) != first


def test_other_trainings_and_other_models_have_runs_of_their_own(registry):
    runs_of = [
        registry.runs.start(model, print_, {})
        for model in ("left", "right")
        for print_ in ("one", "two")
    ]
    assert len(set(runs_of)) == 4


def test_a_run_is_tagged_as_a_training_and_named_after_its_model(registry, run_id, stored):
    assert stored().data.tags["kind"] == "training"
    assert (
        stored().data.tags["fingerprint"]
        == "test_a_run_is_tagged_as_a_training_and_named_after_its_model"
    )
    assert stored().info.run_name.startswith("scratch-2")


def test_parameters_may_be_logged_again_with_the_same_values(registry, run_id, stored):
    for _ in range(2):
        registry.runs.log_params(run_id, {"gan.lr": 1e-3, "flip": True, "betas": [0.0, 0.99]})
    assert stored().data.params == {"gan.lr": "0.001", "flip": "True", "betas": "[0.0, 0.99]"}


def test_another_value_of_a_parameter_is_refused(registry, run_id):
    registry.runs.log_params(run_id, {"lr": 1})
    with pytest.raises(RegistryError, match="failed to log parameters: .*lr"):
        registry.runs.log_params(run_id, {"lr": 2})


def test_scores_come_back_with_their_intervals_and_the_newest_count(registry, run_id, stored):
    assert registry.runs.scores(run_id) == {}
    registry.run_log(run_id).metrics(5, {"loss": 1.0, "test/loss": 1.0})
    for value in (0.5, 0.25):
        psnr = Score(30 + value, 29.5, 31.5, 100, "protocol")
        registry.runs.log_scores(
            run_id, {"psnr": psnr, "fd_classifier": Score(value, 0.0, 1.0, 100, "protocol")}
        )
    assert registry.runs.scores(run_id) == {
        "psnr": {"value": 30.25, "low": 29.5, "high": 31.5},
        "fd_classifier": {"value": 0.25, "low": 0.0, "high": 1.0},
    }
    assert stored().data.metrics["test/psnr.low"] == 29.5


def test_metrics_wait_in_a_buffer_until_it_is_flushed(registry, run_id, stored):
    log = registry.run_log(run_id)
    log.metrics(128, {"loss": 1.0})
    log.metrics(256, {"loss": 0.5, "rate": 9.0})
    assert stored().data.metrics == {}
    log.flush()
    assert stored().data.metrics == {"loss": 0.5, "rate": 9.0}
    history = registry._client.get_metric_history(run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(128, 1.0), (256, 0.5)]
    log.flush()
    assert len(registry._client.get_metric_history(run_id, "loss")) == 2


def test_a_buffer_is_sent_when_it_is_old_or_long(registry, run_id, stored, monkeypatch):
    log = registry.run_log(run_id)
    log.metrics(1, {f"m{i}": 1.0 for i in range(900)})
    assert stored().data.metrics == {}
    log.metrics(2, {"loss": 0.25})
    assert len(stored().data.metrics) == 901
    log.metrics(3, {"loss": 9.0})
    assert stored().data.metrics["loss"] == 0.25  # a new buffer begins
    monkeypatch.setattr(run_log, "FLUSH_SECONDS", -1.0)
    log.metrics(4, {"loss": 0.125})
    assert stored().data.metrics["loss"] == 0.125


def test_more_metrics_than_mlflow_takes_at_once_all_arrive(registry, run_id, stored):
    log = registry.run_log(run_id)
    log.metrics(1, {f"m{i}": float(i) for i in range(2100)})
    assert stored().data.metrics == {f"m{i}": float(i) for i in range(2100)}


def test_a_metric_that_is_not_a_number_can_be_logged(registry, run_id, stored):
    log = registry.run_log(run_id)
    log.metrics(1, {"nan": math.nan, "numpy": np.float32(0.5)})
    log.flush()
    assert math.isnan(stored().data.metrics["nan"])
    assert stored().data.metrics["numpy"] == 0.5


def test_pictures_of_a_training_are_kept_with_their_step(registry, run_id):
    registry.run_log(run_id).image(320, "samples", np.zeros((8, 6, 1), np.uint8))
    names = [item.path for item in registry._client.list_artifacts(run_id, "images")]
    assert len(names) == 2  # MLflow adds a thumbnail
    assert all("samples%step%320%" in name.replace("+", "%") for name in names)


def test_files_of_every_kind_are_logged_and_read_again(registry, run_id, tmp_path):
    table = pd.DataFrame({"metric": ["psnr"], "value": [0.1 + 0.2]})
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    registry.runs.log_files(run_id, "evaluation", {"scores.csv": table, "grid.png": picture})
    registry.runs.log_files(run_id, "", {"inputs.json": json.dumps({"lr": 0.1, "name": "größer"})})
    folder = registry._client.download_artifacts(run_id, "evaluation", str(tmp_path))
    pd.testing.assert_frame_equal(pd.read_csv(f"{folder}/scores.csv"), table)
    assert registry.runs.read_json(run_id, "inputs.json") == {"lr": 0.1, "name": "größer"}
    assert registry.runs.read_json(run_id, "missing.json") is None


def test_artifacts_lie_in_the_project_folder(registry, run_id, stored):
    root = registry._connection.project.root
    assert stored().info.artifact_uri.startswith((root / "mlruns").as_uri())


# -- versions ----------------------------------------------------------------------------------


def test_versions_are_counted_from_one_and_sorted(registry, registered):
    assert [str(version) for *_, version in registered] == ["letters/1", "letters/2", "letters/3"]
    assert [version.number for version in registry.versions("letters")] == [1, 2, 3]
    assert registry.versions("unknown") == []
    assert registry.model_names() == ["letters"]


def test_registering_a_run_again_gives_the_version_it_has(registry, registered):
    folder, run_id, version = registered[0]
    again = registry.register("letters", run_id, folder, {"fingerprint": "ignored"})
    assert (again.number, again.run_id, again.tags) == (1, run_id, version.tags)
    assert len(registry.versions("letters")) == 3


def test_a_version_knows_its_run_its_tags_and_its_time(registry, registered):
    _, run_id, version = registered[1]
    assert version.run_id == run_id
    assert version.tags == {"fingerprint": "f2"}
    made = time.strptime(version.created, "%Y-%m-%dT%H:%M:%SZ")
    assert abs(time.mktime(time.gmtime()) - time.mktime(made)) < 600


def test_the_newest_version_is_the_challenger(registry, registered):
    assert registered[0][2].aliases == (CHALLENGER,)  # at its time
    assert registry.version_at("letters", CHALLENGER).number == 3
    assert registry.version_at("letters", CHAMPION) is None


def test_an_alias_is_set_moved_and_removed(registry, registered):
    for number in (1, 2):
        registry.set_alias("letters", "chosen", number)
        assert registry.version_at("letters", "chosen").number == number
    for _ in range(2):
        registry.delete_alias("letters", "chosen")
    assert registry.version_at("letters", "chosen") is None


def test_tags_of_a_version_are_set_and_overwritten(registry, registered):
    version = registered[2][2]
    registry.tag(version, {"verdict": "kept", "note": "größer"})
    registry.tag(version, {"verdict": "promoted"})
    assert registry.version("letters", 3).tags == {
        "fingerprint": "f3",
        "verdict": "promoted",
        "note": "größer",
    }


def test_scores_of_a_version_are_those_of_its_run(registry, registered):
    _, run_id, version = registered[0]
    registry.runs.log_scores(run_id, {"accuracy": Score(0.5, 0.25, 0.75, 9, "protocol")})
    assert registry.scores(version) == {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}}


def test_a_loaded_version_has_the_weights_of_its_own_bundle(registry, registered):
    from safetensors.torch import load_file

    for folder, _, version in registered[:2]:
        served = registry.load(version).unwrap_python_model()
        expected = load_file(folder / "weights.safetensors")
        assert all(
            torch.equal(weight, expected[name])
            for name, weight in served.network.state_dict().items()
        )
        assert served.config["class_names"] == ["a", "b", "c"]


def test_references_name_a_version_by_number_alias_or_champion(registry, registered):
    registry.set_alias("letters", CHAMPION, 2)
    numbers = [
        registry.resolve(name).number
        for name in ("letters", "letters@champion", "letters@challenger")
    ]
    assert [*numbers, registry.resolve("letters/1").number] == [2, 2, 3, 1]
    registry.delete_alias("letters", CHAMPION)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("leters", "no model 'leters' is registered.*letters"),
        ("letters/9", "letters has no version 9; its versions: 1, 2, 3"),
        ("letters/x", "'letters/x' is not a model: write NAME"),
        ("letters@a/1", "is not a model"),
        ("letters", "letters has no champion; its aliases: challenger"),
        ("letters@previous", "letters has no previous"),
    ],
)
def test_a_reference_to_nothing_is_answered_with_what_there_is(
    registry, registered, reference, message
):
    with pytest.raises(UsageError, match=message):
        registry.resolve(reference)


# -- failures ----------------------------------------------------------------------------------


def assert_unreachable(uri, tracking_at, folder):
    started = time.monotonic()
    with (
        tracking_at(uri),
        pytest.raises(
            RegistryError, match=rf"the registry at {re.escape(uri)} .*MLFLOW_TRACKING_URI"
        ),
    ):
        Registry(Project(folder))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9",
        "http://[nonsense",
        "sqlite:////proc/nowhere/mlflow.db",
        "nonsense://there",
    ],
)
def test_an_unreachable_registry_is_an_error_within_seconds(registry, tracking_at, tmp_path, uri):
    assert_unreachable(uri, tracking_at, tmp_path)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.0 404 Not Found\r\n\r\nnothing here", b""]
)
def test_a_server_that_is_no_mlflow_is_an_error_within_seconds(
    registry, tracking_at, tmp_path, answer
):
    class Answer(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        assert_unreachable(f"http://127.0.0.1:{server.server_address[1]}", tracking_at, tmp_path)
        server.shutdown()


def test_a_registry_that_breaks_is_named_with_what_was_tried(registry, registered):
    for action in (
        lambda: registry.set_alias("letters", "chosen", 99),
        lambda: registry.runs.end("no such run", "FINISHED"),
        lambda: RunLog(registry._connection, "no such run").image(
            1, "samples", np.zeros((2, 2, 1), np.uint8)
        ),
    ):
        with pytest.raises(
            AtelierError, match="the registry at sqlite:.* failed to .*Check MLFLOW_TRACKING_URI"
        ):
            action()


def test_a_run_waits_for_a_server_that_is_started_again_and_a_command_does_not():
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)  # nothing of it is an MLflow: it is up, that is all

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    with pytest.raises(RegistryError, match="can't be reached"):
        _ping(uri)
    before = os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    servers = []

    def come_back():
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", port), Health))
        servers[0].serve_forever(poll_interval=0.01)

    starting = threading.Timer(1.5, come_back)
    starting.start()
    with patient():
        assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) > 3
        _ping(uri)
    assert os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") == before
    servers[0].shutdown()
    servers[0].server_close()
    starting.join()
    with pytest.raises(RegistryError, match="can't be reached"):
        _ping(uri)
