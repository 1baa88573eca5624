import os
import shutil

import pytest

from atelier.data.store import LOCAL_NOTES
from atelier.data.versions import dvc, objects
from atelier.errors import DataError, RemoteError
from tests.support.dvc_projects import clone_of, commit, new_project, objects_in, run, run_dvc
from tests.support.places import REPOSITORY

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A project whose data is tracked, committed and pushed; tests work on copies."""
    # DVC remembers remotes by their path outside of the project; a folder of our own, so that
    # nothing is left behind.
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("site-cache"))
    project = new_project(tmp_path_factory.mktemp("dvc") / "project")
    for number in range(3):
        write(project, f"shard-0000{number}.bin", f"pixels {number}")
    write(project, "dataset.json", "{}")
    write(project, "manifest.csv", "sha256")
    dvc.track(project)
    dvc.push(project)
    commit(project, "data")
    yield project
    del os.environ["DVC_SITE_CACHE_DIR"]


@pytest.fixture
def project(pushed, tmp_path):
    shutil.copytree(pushed, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture(scope="module")
def grown(pushed, tmp_path_factory):
    """The project with one file more, which is tracked and in no commit or remote."""
    folder = tmp_path_factory.mktemp("grown") / "project"
    shutil.copytree(pushed, folder)
    write(folder, "shard-00003.bin", "more")
    dvc.track(folder)
    return folder


@pytest.fixture
def grown_project(grown, tmp_path):
    return shutil.copytree(grown, tmp_path / "project")


@pytest.fixture
def clone(pushed, tmp_path):
    return clone_of(pushed, tmp_path / "clone")


@pytest.fixture(scope="module")
def restored(pushed, tmp_path_factory):
    """A clone whose data were fetched from the remote."""
    folder = clone_of(pushed, tmp_path_factory.mktemp("restored") / "clone")
    dvc.restore_if_missing(folder)
    return folder


@pytest.fixture
def restored_clone(restored, tmp_path):
    return shutil.copytree(restored, tmp_path / "clone")


def write(project, name, text):
    path = project / "data" / "photos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    return path


def contents(project):
    return {path.name: path.read_text() for path in (project / "data" / "photos").iterdir()}


def status(folder):
    return run(folder, "git", "status", "--short")


def object_of(store, text):
    """The path of the object that holds a text."""
    return next(path for path in store.glob("files/md5/*/*") if path.read_text() == text)


def test_a_pushed_project_is_clean_in_the_remote_and_tracked_again_without_a_change(project):
    before = (project / "data.dvc").read_bytes()
    md5 = dvc.data_md5(project)
    assert len(md5) == 36
    assert md5.endswith(".dir")
    assert dvc.track(project) == md5
    assert (project / "data.dvc").read_bytes() == before
    assert dvc.is_clean(project)
    assert dvc.in_remote(project)
    assert not dvc.restore_if_missing(project)
    assert status(project) == ""


def test_changed_data_is_seen_tracked_and_pushed_as_another_version(project):
    old = dvc.data_md5(project)
    write(project, "shard-00003.bin", "more")
    with pytest.raises(DataError, match="data/ is not the version that data.dvc names"):
        dvc.push(project)
    assert dvc.track(project) != old
    assert not dvc.in_remote(project)
    dvc.push(project)
    assert dvc.in_remote(project)
    assert status(project) == " M data.dvc\n"


def test_a_push_sends_only_what_the_remote_lacks(grown_project):
    store = grown_project / ".dvcstore"
    before = objects_in(store)
    dvc.push(grown_project)
    sent = objects_in(store).keys() - before.keys()
    assert len(sent) == 2
    assert dvc.data_md5(grown_project) in sent
    assert object_of(store, "more").exists()


def test_an_object_that_was_deleted_in_the_remote_is_missed_and_sent_again(project):
    lost = object_of(project / ".dvcstore", "pixels 1")
    lost.unlink()
    others = {
        path: path.stat().st_mtime_ns for path in (project / ".dvcstore").glob("files/md5/*/*")
    }
    assert "up to date" in run_dvc(project, "push")  # what DVC itself makes of it
    assert not dvc.in_remote(project)
    dvc.push(project)
    assert lost.read_text() == "pixels 1"
    assert dvc.in_remote(project)
    assert {path: path.stat().st_mtime_ns for path in others} == others


def test_an_object_that_neither_cache_nor_remote_has_is_an_error(clone, pushed, tmp_path):
    shutil.copytree(pushed / ".dvcstore", tmp_path / "store")
    (clone / ".dvc" / "config.local").write_text(
        f"""['remote "local"']\n  url = {tmp_path / "store"}\n"""
    )
    object_of(tmp_path / "store", "pixels 1").unlink()
    assert not dvc.in_remote(clone)
    assert not dvc.restore_if_missing(clone)  # the sources are read again
    assert not (clone / "data").exists()
    with pytest.raises(
        DataError, match="lacks 1 of its files: neither DVC's cache nor its remote .*Run `dvc push`"
    ):
        dvc.checkout(clone, dvc.data_md5(clone))
    assert not (clone / "data").exists()


def test_notes_of_this_machine_are_no_part_of_a_version(project):
    md5 = dvc.data_md5(project)
    for note in LOCAL_NOTES:
        write(project, note, "/home/somebody/secret.png")
    assert dvc.is_clean(project)
    assert dvc.track(project) == md5
    assert dvc.is_clean(project)
    lines = (project / ".dvcignore").read_text().splitlines()
    assert {f"/data/*/{note}" for note in LOCAL_NOTES} <= set(lines)
    assert len(lines) == len(set(lines))


def test_a_clone_gets_the_data_from_the_remote(pushed, clone):
    assert not (clone / "data").exists()
    assert dvc.restore_if_missing(clone)
    assert contents(clone) == contents(pushed)
    assert dvc.is_clean(clone)
    assert dvc.data_md5(clone) == dvc.data_md5(pushed)
    assert status(clone) == ""
    assert not dvc.restore_if_missing(clone)


def test_deleted_data_come_back_from_the_cache_without_the_remote(project):
    shutil.rmtree(project / ".dvcstore")
    shutil.rmtree(project / "data")
    assert dvc.restore_if_missing(project)
    assert dvc.is_clean(project)


def test_a_restore_that_was_killed_is_finished(pushed, restored_clone):
    (restored_clone / "data" / "photos" / "shard-00002.bin").unlink()
    write(restored_clone, "shard-00001.bin", "")
    write(restored_clone, ".Xk3v9.tmp", "pix")
    assert dvc.restore_if_missing(restored_clone)
    assert contents(restored_clone) == contents(pushed)


def test_a_restore_overwrites_nothing_that_is_in_no_version(restored_clone):
    (restored_clone / "data" / "photos" / "shard-00002.bin").unlink()
    write(restored_clone, "shard-00001.bin", "not saved anywhere else")
    with pytest.raises(DataError, match="shard-00001.bin is in no version of data/"):
        dvc.restore_if_missing(restored_clone)
    assert contents(restored_clone)["shard-00001.bin"] == "not saved anywhere else"


def test_a_dataset_that_was_deleted_on_purpose_stays_away(project):
    other = project / "data" / "other" / "dataset.json"
    other.parent.mkdir()
    other.write_text("{}")
    dvc.track(project)
    shutil.rmtree(other.parent)
    assert not dvc.restore_if_missing(project)


def test_a_checkout_changes_data_and_data_dvc_and_back_again(project):
    old, before, text = (
        dvc.data_md5(project),
        contents(project),
        (project / "data.dvc").read_bytes(),
    )
    write(project, "shard-00003.bin", "more")
    write(project, "names.csv", "name,sha256\n")
    new = dvc.track(project)
    tracked = (project / "data.dvc").read_bytes()
    assert dvc.checkout(project, old)
    assert contents(project) == before  # without names.csv, which was of the other version
    assert (project / "data.dvc").read_bytes() == text
    assert status(project) == ""
    assert dvc.is_clean(project)
    assert not dvc.checkout(project, old)
    assert dvc.checkout(project, new)
    assert contents(project) == {**before, "shard-00003.bin": "more"}
    assert (
        project / "data.dvc"
    ).read_bytes() == tracked  # as `dvc add` wrote it, though no commit has it


def test_a_checkout_refuses_to_lose_data(pushed, grown_project):
    write(grown_project, "shard-00000.bin", "not saved anywhere else")
    before = contents(grown_project)
    with pytest.raises(
        DataError, match="shard-00000.bin is in no version of data/.*Run `atelier ingest`"
    ):
        dvc.checkout(grown_project, dvc.data_md5(pushed))
    assert contents(grown_project) == before


def test_a_checkout_refuses_to_lose_data_where_the_cache_lost_its_list_of_files(
    pushed, grown_project
):
    write(grown_project, "shard-00000.bin", "not saved anywhere else")
    new = dvc.data_md5(grown_project)
    objects.places_in_cache(grown_project, [new])[new].unlink()
    with pytest.raises(DataError, match="shard-00000.bin is in no version of data/"):
        dvc.checkout(grown_project, dvc.data_md5(pushed))
    assert contents(grown_project)["shard-00000.bin"] == "not saved anywhere else"


def test_a_fresh_clone_can_check_out_a_version_at_once(pushed, clone):
    assert dvc.checkout(clone, dvc.data_md5(pushed))
    assert contents(clone) == contents(pushed)
    assert status(clone) == ""


def test_a_checkout_that_was_killed_can_be_repeated(project):
    old, before = dvc.data_md5(project), contents(project)
    write(project, "shard-00003.bin", "more")
    write(project, "shard-00000.bin", "other")
    dvc.track(project)
    dvc.checkout(project, old)
    write(project, "shard-00000.bin", "other")  # as if DVC had been killed before it wrote this one
    write(project, "shard-00001.bin", "")  # while it wrote this one
    write(project, ".bYc0.tmp", "pix")
    (project / "data" / "photos" / "shard-00002.bin").unlink()
    assert dvc.checkout(project, old)
    assert contents(project) == before


def test_lost_data_is_neither_restored_nor_called_safe(project):
    for lost in (".dvcstore", ".dvc/cache"):
        shutil.rmtree(project / lost)
    with pytest.raises(
        DataError, match="Track it first"
    ):  # DVC itself would push the list of files without the files
        dvc.push(project)
    shutil.rmtree(project / "data")
    assert not dvc.restore_if_missing(project)


def test_a_remote_that_cannot_be_used_is_an_error_that_may_pass(project):
    shutil.rmtree(project / ".dvcstore")
    (project / ".dvcstore").write_text("a file where a folder is needed")
    for ask in (dvc.in_remote, dvc.push):
        with pytest.raises(RemoteError, match="DVC's remote can't be used: .*Not a directory"):
            ask(project)
    (project / ".dvc" / "config").write_text("")
    with pytest.raises(RemoteError, match="no remote specified"):
        dvc.push(project)


def test_a_folder_without_dvc_says_what_to_run(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="has no .dvc folder.*atelier init"):
        dvc.track(tmp_path)
    assert os.listdir(tmp_path) == ["data"]


def test_nothing_tracked_yet(tmp_path):
    assert dvc.data_md5(tmp_path) is None
    assert not dvc.is_clean(tmp_path)
    assert not dvc.in_remote(tmp_path)
    assert not dvc.restore_if_missing(tmp_path)
    with pytest.raises(DataError, match="nothing to track"):
        dvc.track(tmp_path)


@pytest.mark.parametrize(
    "text", ["<<<<<<< HEAD\nouts:\n=======\n", "", "outs: []\n", "just words", "outs:\n- md5: 7\n"]
)
def test_a_damaged_data_dvc_is_named(tmp_path, text):
    (tmp_path / "data.dvc").write_text(text)
    with pytest.raises(DataError, match="data.dvc is not a file that DVC wrote"):
        dvc.data_md5(tmp_path)


def test_this_repository_ignores_the_notes_too():
    lines = (REPOSITORY / ".dvcignore").read_text().splitlines()
    assert set(dvc.IGNORED) <= set(lines)


@pytest.mark.parametrize(
    "pattern", ["*.csv", "shard-00001.bin", "data/*/*.json", "data/photos/manifest.*"]
)
def test_a_file_that_dvc_is_told_to_ignore_stops_the_tracking(project, pattern):
    before = (project / "data.dvc").read_bytes()
    ignore = project / ".dvcignore"
    ignore.write_text(f"{ignore.read_text()}{pattern}\n")
    write(project, "shard-00003.bin", "more")
    with pytest.raises(
        DataError, match=r"DVC leaves 1 files of data/ out of its version: data/photos/.* Remove it"
    ):
        dvc.track(project)
    assert (project / "data.dvc").read_bytes() == before
    ignore.write_text(ignore.read_text().removesuffix(f"{pattern}\n"))
    dvc.track(project)


def test_a_version_without_a_file_that_it_should_have_is_not_in_the_remote(project):
    (project / "data" / "photos" / "manifest.csv").unlink()
    dvc.track(project)
    dvc.push(project)
    assert not dvc.in_remote(project)
    write(project, "manifest.csv", "sha256")
    assert not dvc.in_remote(project)
