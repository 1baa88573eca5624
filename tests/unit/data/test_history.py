import json
import os
import shutil

import numpy as np
import pytest

from atelier.data.manifest import write_csv
from atelier.data.sources.pictures import content_hash
from atelier.data.versions import dvc, history, lookup, objects, report
from atelier.data.versions.changes import Entry, compare
from atelier.errors import DataError, UsageError
from atelier.params import Dataset
from tests.support.dvc_projects import clone_of, commit, new_project, objects_in, run
from tests.support.stored import stored_dataset

pytestmark = pytest.mark.service

PICTURES = [
    np.random.default_rng(seed).integers(0, 256, (16, 16, 1), np.uint8) for seed in range(14)
]
HASHES = [content_hash(pixels) for pixels in PICTURES]
FIRST = {
    number: ("cat" if number % 2 else "dog", "test" if number < 2 else "train")
    for number in range(10)
}
# One removed, one relabelled, one moved, and three of a class that shifts the numbers of the
# others.
SECOND = {number: place for number, place in FIRST.items() if number != 9}
SECOND |= {
    0: ("cat", "test"),
    1: ("cat", "validation"),
    **{number: ("bird", "train") for number in (10, 11, 12)},
}


def store(project, images, before=None, name="photos"):
    labels, splits = (
        [label for label, _ in images.values()],
        [split for _, split in images.values()],
    )
    return stored_dataset(
        project, [PICTURES[number] for number in images], labels, splits, name, before=before
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two commits of data, and a working copy with a picture more that was not tracked."""
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("site-cache"))
    project = new_project(tmp_path_factory.mktemp("history") / "project")
    commit(project, "no data yet")
    first = store(project, FIRST)
    dvc.track(project)
    dvc.push(project)
    commit(project, "first data")
    second = store(project, SECOND, first)
    store(project, {13: ("", "train")}, name="sketches")
    dvc.track(project)
    dvc.push(project)
    commit(project, "more data")
    (project / "README").write_text("no data in this commit")
    commit(project, "no data")
    store(project, {**SECOND, 13: ("bird", "train")}, second)
    write_csv(
        project / "data" / "photos" / "names.csv",
        ("name", "sha256"),
        [("a/one.png", HASHES[1]), ("two.png", HASHES[2])],
    )
    quarantined = [
        ("a/broken.png", "truncated or damaged", ""),
        ("b/broken.png", "empty", "0 bytes"),
    ]
    write_csv(
        project / "data" / "photos" / "quarantine.csv", ("name", "reason", "detail"), quarantined
    )
    yield project
    del os.environ["DVC_SITE_CACHE_DIR"]


@pytest.fixture(scope="module")
def known(project):
    return history.commits(project)


def changes(project, before, after, name="photos"):
    found = compare(history.open_snapshot(project, before), history.open_snapshot(project, after))
    return {change.name: change for change in found}[name]


def test_the_commits_that_changed_the_data_are_listed_newest_first(project, known):
    assert [commit.subject for commit in known] == ["more data", "first data"]
    assert len({commit.md5 for commit in known}) == 2
    assert all(len(commit.revision) == 40 and commit.size > 2000 for commit in known)
    assert known[0].md5 == dvc.data_md5(project)
    assert history.md5_at(project, "HEAD~2") == known[1].md5


def test_a_version_is_named_by_revision_branch_md5_or_its_first_digits(project, known):
    newest, oldest = known
    for revision in (
        "HEAD",
        newest.revision,
        newest.revision[:8],
        newest.md5,
        newest.md5[:32],
        newest.md5[:6],
    ):
        assert history.resolve(project, revision) == newest.md5
    for revision in ("HEAD~2", oldest.md5[:20]):
        assert history.resolve(project, revision) == oldest.md5


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        (
            "no-such-branch",
            "'no-such-branch' is no version of data/: neither a git revision nor the first digits",
        ),
        ("--all", "'--all' is no version"),
        ("HEAD~3", "HEAD~3 has no data.dvc that names a version: no data were tracked then"),
        ("ffffff", "'ffffff' is no version"),
        ("", "'' is no version"),
    ],
)
def test_what_names_no_version_is_an_error(project, revision, message):
    with pytest.raises(UsageError, match=message):
        history.resolve(project, revision)


def test_first_digits_of_several_versions_are_an_error(project, known, tmp_path):
    digits = known[0].md5[:8]
    shutil.copytree(project, tmp_path / "project")
    cache = objects.places_in_cache(tmp_path / "project", [known[0].md5])[known[0].md5]
    (cache.parent / f"{cache.name[:6]}{'0' * 24}.dir").write_text("[]")
    with pytest.raises(
        UsageError, match=f"'{digits}' may be one of {digits}.*, {digits}.*Give more digits"
    ):
        history.resolve(tmp_path / "project", digits)


def test_a_version_that_nobody_has_is_an_error(project):
    with pytest.raises(DataError, match="0{32} is version 0{32}.dir of data/, which can't be read"):
        history.open_snapshot(project, "0" * 32)


def test_a_version_whose_files_are_lost_is_not_called_damaged(project, tmp_path):
    shutil.copytree(project / ".dvcstore", tmp_path / "store")
    clone = clone_of(project, tmp_path / "clone")
    (clone / ".dvc" / "config.local").write_text(
        f"""['remote "local"']\n  url = {tmp_path / "store"}\n"""
    )
    snapshot = history.open_snapshot(clone, "HEAD")
    shutil.rmtree(tmp_path / "store")
    for ask in (snapshot.manifest, snapshot.description, snapshot.dataset):
        with pytest.raises(DataError, match="neither DVC's cache nor its remote has them"):
            ask("photos")


@pytest.mark.parametrize("fresh", [False, True])
def test_an_older_version_is_read_without_touching_the_working_copy(
    project, known, tmp_path, fresh
):
    folder = clone_of(project, tmp_path / "clone") if fresh else project
    before = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if ".dvc" not in path.parts
    }
    snapshot = history.open_snapshot(folder, known[1].md5[:10])
    stored = snapshot.dataset("photos")
    assert snapshot.names == ["photos"]
    assert stored.info.counts == {"train": 8, "validation": 0, "test": 2}
    assert stored.info.class_names == ("cat", "dog")
    assert {content_hash(image) for image in stored.images("train")} == set(HASHES[2:10])
    assert {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if ".dvc" not in path.parts
    } == before
    with pytest.raises(UsageError, match="has no dataset 'sketches'. Its datasets: photos"):
        snapshot.dataset("sketches")


def test_a_diff_tells_added_removed_relabelled_and_moved(project):
    found = changes(project, "HEAD~2", "HEAD")
    assert found.state == "changed"
    assert found.params == {}
    assert {entry.sha256: entry.class_name for entry in found.added} == {
        HASHES[n]: "bird" for n in (10, 11, 12)
    }
    assert found.removed == [Entry(HASHES[9], "train", "cat")]
    assert [(was.class_name, now.class_name, now.sha256) for was, now in found.relabelled] == [
        ("dog", "cat", HASHES[0])
    ]
    assert [(was.split, now.split, now.sha256) for was, now in found.moved] == [
        ("test", "validation", HASHES[1])
    ]
    assert found.as_json()["counts"] == {
        "added": {"bird": {"train": 3}},
        "removed": {"cat": {"train": 1}},
    }


def test_a_diff_backwards_is_the_opposite(project):
    there, back = changes(project, "HEAD~2", "HEAD"), changes(project, "HEAD", "HEAD~2")
    assert back.added == there.removed
    assert {entry.sha256 for entry in back.removed} == {entry.sha256 for entry in there.added}
    assert back.moved == [(now, was) for was, now in there.moved]


def test_a_diff_with_the_working_copy_and_of_datasets_that_appear_or_vanish(project):
    assert [entry.sha256 for entry in changes(project, "HEAD", "now").added] == [HASHES[13]]
    assert changes(project, "HEAD", "HEAD").state == "same"
    appeared = changes(project, "HEAD~2", "HEAD", "sketches")
    assert (appeared.state, [entry.class_name for entry in appeared.added]) == ("new", [""])
    gone = changes(project, "HEAD", "HEAD~2", "sketches")
    assert (gone.state, len(gone.removed)) == ("gone", 1)


def test_other_parameters_are_a_change(project, tmp_path):
    shutil.copytree(project, tmp_path / "project")
    path = tmp_path / "project" / "data" / "photos" / "dataset.json"
    described = json.loads(path.read_text())
    described["params"]["fit"] = "pad"
    path.unlink()
    path.write_text(json.dumps(described))
    assert changes(tmp_path / "project", "HEAD", "now").params == {"fit": ("center-crop", "pad")}


def test_a_diff_fetches_no_pixels(project, tmp_path):
    clone = clone_of(project, tmp_path / "clone")
    assert changes(clone, "HEAD~2", "HEAD").state == "changed"
    fetched = objects_in(clone / ".dvc" / "cache")
    assert len(fetched) == 2 + 2 * 2 + 2  # lists of files, photos' two tables, twice; sketches' two
    assert not fetched.keys() & {
        md5
        for path, md5 in objects.listing(clone, history.md5_at(clone, "HEAD")).items()
        if ".bin" in path
    }


def test_the_list_has_counts_of_every_version_and_the_working_copy(project, known):
    now, newest, oldest = report.list_versions(project)
    assert (now["revision"], now["md5"], now["subject"]) == (
        "now",
        None,
        "the working copy, not tracked",
    )
    assert now["datasets"]["photos"] == {"train": 11, "validation": 1, "test": 1}
    assert newest["datasets"] == {
        "photos": {"train": 10, "validation": 1, "test": 1},
        "sketches": {"train": 1, "validation": 0, "test": 0},
    }
    assert oldest["datasets"] == {"photos": {"train": 8, "validation": 0, "test": 2}}
    assert [newest["md5"], oldest["md5"]] == [commit.md5 for commit in known]


def test_the_list_of_a_clone_shows_lost_versions_as_such(project, known, tmp_path):
    shutil.copytree(project / ".dvcstore", tmp_path / "store")
    clone = clone_of(project, tmp_path / "clone")
    (clone / ".dvc" / "config.local").write_text(
        f"""['remote "local"']\n  url = {tmp_path / "store"}\n"""
    )
    lost = known[1].md5
    (tmp_path / "store" / "files" / "md5" / lost[:2] / lost[2:]).unlink()
    newest, oldest = report.list_versions(clone)
    assert newest["datasets"]["photos"] == {"train": 10, "validation": 1, "test": 1}
    assert oldest["datasets"] is None
    shutil.rmtree(tmp_path / "store")
    assert report.list_versions(clone) == [newest, oldest]  # from the cache


def test_the_status_has_counts_by_class_and_split_and_where_the_bytes_are(project):
    asked = Dataset(source="folder", path="raw", image_size=16, channels=1)
    found = report.status(project, {"photos": asked, "wanted": asked})
    assert found["md5"] == dvc.data_md5(project)
    assert (found["clean"], found["in_remote"]) == (False, True)
    photos, sketches, wanted = found["datasets"]
    assert photos["images"] == {
        "bird": {"train": 4},
        "cat": {"train": 3, "validation": 1, "test": 1},
        "dog": {"train": 4},
    }
    assert (sketches["state"], sketches["reasons"]) == ("unused", ["not in params.yaml"])
    assert sketches["images"] == {"": {"train": 1}}
    assert (wanted["state"], wanted["images"]) == ("missing", {})


def test_a_picture_is_found_by_digits_or_name_in_any_version(project):
    now = history.open_snapshot(project, "now")
    for word in (HASHES[1][:10], HASHES[1], "a/one.png", "one.png"):
        found = lookup.find(project, now, word)
        assert (found.dataset, found.sha256, found.names) == ("photos", HASHES[1], ("a/one.png",))
    assert (found.split, found.class_name, found.height, found.channels, found.source) == (
        "validation",
        "cat",
        16,
        1,
        0,
    )
    assert found.mean == pytest.approx(PICTURES[1].mean(), abs=0.01)
    np.testing.assert_array_equal(lookup.pixels(now, found), PICTURES[1])
    older = history.open_snapshot(project, "HEAD~2")
    then = lookup.find(project, older, "one.png")
    assert (then.split, then.class_name) == ("test", "cat")
    np.testing.assert_array_equal(lookup.pixels(older, then), PICTURES[1])


def test_a_picture_in_quarantine_is_found_with_its_reason(project):
    found = lookup.find(project, history.open_snapshot(project, "now"), "b/broken.png")
    assert found.as_json() == {
        "dataset": "photos",
        "names": ("b/broken.png",),
        "reason": "empty",
        "detail": "0 bytes",
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "broken.png",
            r"may be one of 2 pictures.*\n  photos  truncated or damaged  a/broken.png\n"
            "  photos  empty",
        ),
        ("none.png", "no picture 'none.png' in now"),
        (HASHES[1][:3], "no picture"),  # too short
        ("0000000000000000", "no picture"),
    ],
)
def test_a_word_that_means_no_picture_or_several_is_an_error(project, word, message):
    with pytest.raises(UsageError, match=message):
        lookup.find(project, history.open_snapshot(project, "now"), word)


def test_outside_of_git_there_is_no_history(tmp_path):
    assert history.commits(tmp_path) == []
    assert history.md5_at(tmp_path, "HEAD") is None


def test_a_damaged_data_dvc_in_history_hides_no_other_version(project, tmp_path):
    shutil.copytree(project, tmp_path / "project")
    (tmp_path / "project" / "data.dvc").write_text("<<<<<<< HEAD\n")
    commit(tmp_path / "project", "a merge conflict")
    run(tmp_path / "project", "git", "rm", "-q", "data.dvc")
    commit(tmp_path / "project", "removed")
    found = history.commits(tmp_path / "project")
    assert [(item.subject, item.md5 is None) for item in found] == [
        ("removed", True),
        ("a merge conflict", True),
        ("more data", False),
        ("first data", False),
    ]
