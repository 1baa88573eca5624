"""The ways out of a merge conflict in `data.dvc` are gone in a real repository."""

import re
import subprocess

import pytest

from atelier.data.versions import dvc, history
from atelier.errors import DataError
from tests.support.dvc_projects import commit, new_project, run
from tests.support.processes import atelier

pytestmark = pytest.mark.service
AS = ("-c", "user.name=test", "-c", "user.email=test@localhost")


@pytest.fixture
def conflict(tmp_path):
    """Two branches with a version of data/ each, merged; the data are those of the second."""
    project = new_project(tmp_path / "project")
    folder = project / "data" / "photos"
    folder.mkdir(parents=True)
    md5s = []
    run(project, "git", "checkout", "-q", "-b", "first")
    for branch in ("first", "second"):
        for name in ("dataset.json", "manifest.csv"):
            (folder / name).write_text(branch)
        md5s.append(dvc.track(project))
        commit(project, branch)
        if branch == "first":
            run(project, "git", "checkout", "-q", "-b", "second")
    run(project, "git", "checkout", "-q", "-b", "third", "first~0")
    text = (project / "data.dvc").read_text().replace("size: 10", "size: 11")
    (project / "data.dvc").write_text(text)
    commit(project, "third")
    run(project, "git", "checkout", "-q", "second")
    done = subprocess.run(["git", *AS, "merge", "third"], cwd=project, capture_output=True)
    assert b"CONFLICT" in done.stdout
    return project, md5s


@pytest.mark.parametrize(("option", "chosen"), [("--ours", 1), ("--theirs", 0)])
def test_each_way_out_ends_the_conflict_with_the_version_that_it_names(conflict, option, chosen):
    project, md5s = conflict
    with pytest.raises(DataError, match="a merge left both sides in it") as raised:
        dvc.data_md5(project)
    ways = re.findall(r"^  (git .*)$", str(raised.value), re.MULTILINE)
    (way,) = [way for way in ways if option in way]
    in_git, _, in_atelier = way.rpartition(" && ")
    subprocess.run(in_git, shell=True, cwd=project, check=True)
    done = atelier(project, *in_atelier.split()[1:])
    assert done.returncode == 0, done.stderr
    assert dvc.data_md5(project) == md5s[chosen] and dvc.is_clean(project)
    assert (project / "data/photos/dataset.json").read_text() == ("first", "second")[chosen]
    run(project, "git", *AS, "commit", "-qm", "merged")
    assert history.md5_at(project, "HEAD") == md5s[chosen]


def test_damage_without_a_conflict_is_mended_from_git_or_by_an_ingest(conflict):
    project, md5s = conflict
    run(project, "git", "merge", "--abort")
    (project / "data.dvc").write_text("just words")
    with pytest.raises(DataError, match="git has it as it was: (.*)$") as raised:
        dvc.data_md5(project)
    way = str(raised.value).partition("as it was: ")[2]
    subprocess.run(way, shell=True, cwd=project, check=True)
    assert dvc.data_md5(project) == md5s[1]
    (project / "data.dvc").write_text("just words")
    commit(project, "committed with the damage")
    with pytest.raises(DataError, match="Delete data.dvc, then run `atelier ingest`"):
        dvc.data_md5(project)
    (project / "data.dvc").unlink()
    assert dvc.track(project) == md5s[1]


@pytest.mark.parametrize("command", ["run", "plan", "ingest"])
def test_no_command_says_that_nothing_is_to_do_in_a_conflict(conflict, command):
    project, _ = conflict
    done = atelier(project, command)
    assert done.returncode == 1 and "a merge left both sides in it" in done.stderr
