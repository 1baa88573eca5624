import os
import shutil
import subprocess
import sys

import pytest

from atelier.data import versions
from atelier.errors import DataError


def run(folder, *command):
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)


def remote(url):
    """What `dvc remote add` and `dvc remote modify` write, a second faster."""
    return f"""['remote "local"']\n  url = {url}\n"""


@pytest.fixture(scope="session")
def pushed(tmp_path_factory):
    """A project whose data is tracked, committed and pushed; tests work on copies."""
    # DVC remembers remotes by their path outside of the project; a folder of our own, so that nothing is left behind.
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("site-cache"))
    project = tmp_path_factory.mktemp("dvc") / "project"
    (project / "data" / "photos").mkdir(parents=True)
    (project / "data" / "photos" / "shard-00000.bin").write_bytes(b"pixels")
    (project / ".gitignore").write_text("/data\n.dvcstore/\n")
    run(project, "git", "init", "-q")
    run(project, sys.executable, "-m", "dvc", "init", "-q")
    (project / ".dvc" / "config").write_text("[core]\n  remote = local\n" + remote("../.dvcstore"))
    versions.track(project)
    versions.push(project)
    run(project, "git", "add", "-A")
    run(project, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "data")
    yield project
    del os.environ["DVC_SITE_CACHE_DIR"]


@pytest.fixture
def project(pushed, tmp_path):
    shutil.copytree(pushed, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def clone(pushed, tmp_path):
    run(tmp_path, "git", "clone", "-q", str(pushed), "clone")
    (tmp_path / "clone" / ".dvc" / "config.local").write_text(remote(pushed / ".dvcstore"))
    return tmp_path / "clone"


def status(folder):
    return subprocess.run(["git", "status", "--short"], cwd=folder, capture_output=True, text=True).stdout


def test_a_pushed_project_is_clean_in_the_remote_and_tracked_again_without_a_change(project):
    before = (project / "data.dvc").read_bytes()
    md5 = versions.data_md5(project)
    assert len(md5) == 36
    assert md5.endswith(".dir")
    assert versions.track(project) == md5
    assert (project / "data.dvc").read_bytes() == before
    assert versions.is_clean(project)
    assert versions.in_remote(project)
    assert not versions.restore_if_missing(project)
    assert status(project) == ""


def test_changed_data_is_seen_tracked_and_pushed_as_another_version(project):
    old = versions.data_md5(project)
    (project / "data" / "photos" / "shard-00001.bin").write_bytes(b"more")
    with pytest.raises(DataError, match="data/ is not the version that data.dvc names"):
        versions.push(project)
    assert versions.track(project) != old
    assert not versions.in_remote(project)
    versions.push(project)
    assert status(project) == " M data.dvc\n"


def test_a_clone_gets_the_data_from_the_remote_and_keeps_what_is_not_tracked(pushed, clone):
    assert not (clone / "data").exists()
    assert versions.restore_if_missing(clone)
    shard = clone / "data" / "photos" / "shard-00000.bin"
    assert shard.read_bytes() == b"pixels"
    assert versions.is_clean(clone)
    assert versions.data_md5(clone) == versions.data_md5(pushed)
    assert status(clone) == ""
    shard.write_bytes(b"not saved anywhere else")
    with pytest.raises(DataError, match="dvc pull data.dvc: "):
        versions.pull(clone)
    assert shard.read_bytes() == b"not saved anywhere else"


def test_lost_data_is_neither_restored_nor_called_safe(project):
    for lost in (".dvcstore", ".dvc/cache"):
        shutil.rmtree(project / lost)
    with pytest.raises(DataError, match="Track it first"):  # DVC itself would push the list of files without the files
        versions.push(project)
    shutil.rmtree(project / "data")
    assert not versions.restore_if_missing(project)
    with pytest.raises(DataError, match="dvc pull data.dvc: failed to pull data from the cloud"):
        versions.pull(project)


def test_a_remote_that_cannot_be_reached_is_an_error(project):
    shutil.rmtree(project / ".dvcstore")
    (project / ".dvcstore").write_text("a file where a folder is needed")
    with pytest.raises(DataError, match="dvc data status .*Not a directory"):
        versions.in_remote(project)


def test_a_folder_without_dvc_says_what_to_run(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="has no .dvc folder.*git init && dvc init"):
        versions.track(tmp_path)


def test_nothing_tracked_yet(tmp_path):
    assert versions.data_md5(tmp_path) is None
    assert not versions.is_clean(tmp_path)
    assert not versions.in_remote(tmp_path)
    assert not versions.restore_if_missing(tmp_path)
    with pytest.raises(DataError, match="nothing to track"):
        versions.track(tmp_path)


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nouts:\n=======\n", "", "outs: []\n", "just words"])
def test_a_damaged_data_dvc_is_named(tmp_path, text):
    (tmp_path / "data.dvc").write_text(text)
    with pytest.raises(DataError, match="data.dvc is not a file that DVC wrote"):
        versions.data_md5(tmp_path)
