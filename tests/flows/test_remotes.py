"""A DVC remote in a bucket of a real S3 server on this machine: moto, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from atelier.data.store import read_dataset
from atelier.data.versions import dvc, history, objects
from atelier.errors import DataError, RemoteError
from atelier.params import Dataset
from tests.support.dvc_projects import commit, new_project, params_text, run
from tests.support.processes import atelier
from tests.support.stored import ingest_all_stages

boto3 = pytest.importorskip(
    "boto3", reason="the S3 client is not installed: pip install -e '.[dev]'"
)
pytest.importorskip("moto.server", reason="the S3 server is not installed: pip install -e '.[dev]'")
pytest.importorskip("dvc_s3", reason="DVC can't speak S3: pip install -e '.[s3]'")

pytestmark = pytest.mark.service

KEYS = {"access_key_id": "testing", "secret_access_key": "testing", "region": "us-east-1"}
PHOTOS_KEYS = {
    "source": "folder",
    "path": "raw",
    "image_size": 16,
    "channels": 3,
    "test_fraction": 0.25,
}
PHOTOS = Dataset.model_validate_json(json.dumps(PHOTOS_KEYS))


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """The address of the server."""
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("site-cache"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=log,
        stderr=log,
    )
    deadline = time.monotonic() + 60
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert server.poll() is None and time.monotonic() < deadline, "moto's server did not start"
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(timeout=20)
    log.close()
    del os.environ["DVC_SITE_CACHE_DIR"]


@pytest.fixture(scope="module")
def client(endpoint):
    """What talks to the server for the tests."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=KEYS["region"],
        aws_access_key_id=KEYS["access_key_id"],
        aws_secret_access_key=KEYS["secret_access_key"],
    )


@pytest.fixture(scope="module")
def pushed(tmp_path_factory, client, endpoint):
    """A project whose data were ingested and pushed to the bucket `template`."""
    client.create_bucket(Bucket="template")
    project = new_project(tmp_path_factory.mktemp("pushed") / "project")
    point_at(project, "template", endpoint)
    add_pictures(project, range(40))
    ingest_all_stages(project, "photos", PHOTOS)
    dvc.track(project)
    dvc.push(project)
    commit(project, "data")
    return project


@pytest.fixture
def bucket(pushed, client, request):
    """A bucket of the test's own, with what was pushed."""
    name = f"bucket-{abs(hash(request.node.name))}"
    client.create_bucket(Bucket=name)
    for item in client.list_objects_v2(Bucket="template")["Contents"]:
        source = {"Bucket": "template", "Key": item["Key"]}
        client.copy_object(Bucket=name, Key=item["Key"], CopySource=source)
    return Bucket(client, name)


class Bucket:
    def __init__(self, client, name):
        self.client, self.name = client, name

    def objects(self):
        """By md5, with their sizes."""
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {"".join(item["Key"].split("/")[-2:]): item["Size"] for item in found}

    def delete(self, md5):
        key = f"store/files/md5/{md5[:2]}/{md5[2:]}"
        self.client.head_object(Bucket=self.name, Key=key)  # it is there
        self.client.delete_object(Bucket=self.name, Key=key)


def point_at(project, bucket_name, address):
    """What `dvc remote add` and `dvc remote modify --local` write."""
    (project / ".dvc" / "config").write_text(
        f"""[core]\n  remote = s3\n['remote "s3"']\n  url = s3://{bucket_name}/store\n"""
    )
    secrets = "".join(f"  {key} = {value}\n" for key, value in KEYS.items())
    (project / ".dvc" / "config.local").write_text(
        f"""['remote "s3"']\n  endpointurl = {address}\n{secrets}"""
    )


def add_pictures(project, numbers):
    for number in numbers:
        path = project / "raw" / ("cat", "dog")[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)).save(
            path
        )


@pytest.fixture
def project(tmp_path, pushed, bucket, endpoint):
    """A copy of that project that uses the test's own bucket."""
    shutil.copytree(pushed, tmp_path / "project")
    point_at(tmp_path / "project", bucket.name, endpoint)
    return tmp_path / "project"


@pytest.fixture
def clone(tmp_path, project, bucket, endpoint):
    run(tmp_path, "git", "clone", "-q", str(project), "clone")
    point_at(tmp_path / "clone", bucket.name, endpoint)
    return tmp_path / "clone"


def shard_of(project, number=0):
    return objects.listing(project, dvc.data_md5(project))[f"photos/shard-{number:05d}.bin"]


def test_a_clone_gets_from_the_bucket_what_was_pushed(project, clone, bucket):
    assert len(bucket.objects()) == 4  # shard, manifest, description, list of files
    assert dvc.in_remote(clone)
    assert dvc.restore_if_missing(clone)
    ours, theirs = read_dataset(project, "photos"), read_dataset(clone, "photos")
    assert theirs.digest == ours.digest
    np.testing.assert_array_equal(theirs.images("train")[:], ours.images("train")[:])


def test_more_pictures_send_only_the_new_shard_and_the_old_version_stays_readable(
    project, clone, bucket
):
    before = bucket.objects()
    add_pictures(project, range(40, 46))
    ingest_all_stages(project, "photos", PHOTOS)
    dvc.track(project)
    dvc.push(project)
    sent = {md5: size for md5, size in bucket.objects().items() if md5 not in before}
    assert sent.pop(shard_of(project, 1)) == 6 * 16 * 16 * 3
    assert len(sent) == 3  # manifest, description, list of files
    assert before.items() <= bucket.objects().items()
    old = history.open_snapshot(clone, "HEAD").dataset("photos")
    assert sum(old.info.counts.values()) == 40
    assert not (clone / "data").exists()


def test_an_object_deleted_in_the_bucket_is_found_and_sent_again(project, bucket):
    bucket.delete(shard_of(project))
    assert not dvc.in_remote(project)
    dvc.push(project)
    assert shard_of(project) in bucket.objects()
    assert dvc.in_remote(project)


def test_an_object_that_is_lost_everywhere_stops_before_anything_is_changed(project, clone, bucket):
    md5, shard = dvc.data_md5(project), shard_of(project)
    bucket.delete(shard)
    assert not dvc.restore_if_missing(clone)
    with pytest.raises(DataError, match=f"lacks 1 of its files.*{shard}"):
        dvc.checkout(clone, md5)
    assert not (clone / "data").exists()


def test_a_bucket_that_is_not_there_is_an_error_that_may_pass(project, endpoint):
    point_at(project, "no-such-bucket", endpoint)
    for ask in (dvc.in_remote, dvc.push):
        with pytest.raises(
            RemoteError, match="DVC's remote can't be used: .*bucket does not exist"
        ):
            ask(project)


def test_a_server_that_does_not_answer_is_an_error_that_may_pass(clone, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client's own patience takes 9 s
    point_at(clone, "bucket", "http://127.0.0.1:9")  # the port "discard": nothing listens
    with pytest.raises(
        RemoteError, match="DVC's remote can't be used: .*Could not connect to the endpoint"
    ):
        dvc.restore_if_missing(clone)


@pytest.mark.flow
def test_a_run_repairs_the_bucket_before_it_trains_anything(project, bucket, prefect_api):
    shard = shard_of(project)
    (project / "params.yaml").write_text(params_text({"photos": PHOTOS_KEYS}))
    bucket.delete(shard)
    place = objects.places_in_cache(project, [shard])[shard]
    shutil.rmtree(place.parent)  # data/ itself is the last copy
    site_cache = os.environ["DVC_SITE_CACHE_DIR"]
    done = atelier(project, "ingest", PREFECT_API_URL=prefect_api, DVC_SITE_CACHE_DIR=site_cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shard in bucket.objects()
