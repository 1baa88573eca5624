import hashlib
import json
import os
import shutil

import pytest

from atelier.data.versions import dvc
from atelier.data.versions.recovery import explain_loss, put_version
from atelier.errors import DataError
from tests.support.dvc_projects import commit, new_project

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("site-cache"))
    project = new_project(tmp_path_factory.mktemp("dvc") / "project")
    for name in ("shard-00000.bin", "dataset.json"):
        path = project / "data" / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    dvc.track(project)
    dvc.push(project)
    commit(project, "data")
    yield project
    del os.environ["DVC_SITE_CACHE_DIR"]


@pytest.fixture
def project(pushed, tmp_path):
    return shutil.copytree(pushed, tmp_path / "project")


def cached(project, md5):
    return project / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def md5_of(text):
    return hashlib.md5(text.encode()).hexdigest()


def overwrite(path, text):
    path.chmod(0o644)
    path.write_text(text)


SHARD = "content of shard-00000.bin"


def test_a_version_is_written_into_another_folder(project, tmp_path):
    md5 = dvc.data_md5(project)
    shutil.rmtree(project / ".dvc" / "cache")  # from the remote
    put_version(project, md5, tmp_path)
    assert (tmp_path / "data" / "photos" / "shard-00000.bin").read_text() == SHARD
    assert dvc.data_md5(tmp_path) == md5


def test_one_changed_byte_is_noticed_and_named(project, tmp_path):
    overwrite(cached(project, md5_of(SHARD)), SHARD.replace("0", "1", 1))
    with pytest.raises(
        DataError,
        match=r"is not what it was\. Changed .*: data/photos/shard-00000.bin, /.*Delete these",
    ):
        put_version(project, dvc.data_md5(project), tmp_path)


def test_a_changed_list_of_files_is_not_followed(project, tmp_path):
    md5 = dvc.data_md5(project)
    entries = [{"md5": md5_of(SHARD), "relpath": "../../outside.bin"}]
    overwrite(cached(project, md5), json.dumps(entries))
    with pytest.raises(DataError, match="Changed since it was tracked: the list of files"):
        put_version(project, md5, tmp_path / "a" / "b")
    assert not list(tmp_path.rglob("outside.bin"))


def test_a_list_that_leads_outside_is_refused_even_if_its_hash_is_right(project, tmp_path):
    content = json.dumps([{"md5": md5_of(SHARD), "relpath": "../../outside.bin"}])
    md5 = f"{md5_of(content)}.dir"
    cached(project, md5).parent.mkdir(exist_ok=True)
    cached(project, md5).write_text(content)
    with pytest.raises(DataError, match=r"has a file '\.\./\.\./outside.bin', which is not in it"):
        put_version(project, md5, tmp_path / "a" / "b")
    assert not list(tmp_path.rglob("outside.bin"))


def test_lost_asks_cache_and_remote_together(project):
    md5, shard = dvc.data_md5(project), md5_of(SHARD)
    remote = project / ".dvcstore" / "files" / "md5" / shard[:2] / shard[2:]
    assert explain_loss(project, md5) == ""
    remote.unlink()
    assert explain_loss(project, md5) == ""  # the cache has it
    cached(project, shard).unlink()
    assert (
        explain_loss(project, md5)
        == f"neither DVC's cache nor its remote has 1 of its files (md5 {shard}, ...)"
    )
    assert (
        explain_loss(project, "0" * 32 + ".dir")
        == "neither DVC's cache nor its remote has the list of its files"
    )
    (project / ".dvc" / "config").write_text("")
    assert "DVC's remote can't be used" in explain_loss(project, md5)
