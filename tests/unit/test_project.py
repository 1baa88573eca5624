import os
import re
import subprocess
import sys

import pytest

from atelier.errors import ProvenanceError, UsageError
from atelier.factory.provenance import GitState, git_state, installed_packages
from atelier.project import Project, exclusive, find_project, set_environment

HOLD = """
import sys, time
from pathlib import Path
from atelier.project import Project, exclusive
with exclusive(Project(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").touch()
    return Project(tmp_path)


def set_in_an_empty_environment(project):
    """The names of all variables that `set_environment` sets where there are none."""
    code = (
        "import os, sys; from pathlib import Path; from atelier.project import *\n"
        "before = set(os.environ); set_environment(Project(Path(sys.argv[1])))\n"
        "print(*os.environ.keys() - before)"
    )
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-c", code, str(project.root)]
    printed = subprocess.run(command, env=kept, capture_output=True, text=True, check=True).stdout
    return printed.split()


@pytest.fixture
def no_variables(project):
    """An environment without any variable that `set_environment` may set, restored afterwards."""
    settable = set_in_an_empty_environment(project)
    with pytest.MonkeyPatch.context() as patch:
        for name in settable:
            patch.delenv(name, raising=False)
        before = dict(os.environ)
        yield before
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


# -- where -------------------------------------------------------------------------------------


def test_a_project_is_found_from_any_folder_inside(project, monkeypatch):
    inside = project.root / "a" / "b"
    inside.mkdir(parents=True)
    assert find_project(project.root) == find_project(inside) == project
    monkeypatch.chdir(inside)
    assert find_project() == project
    assert find_project().params_file == project.root / "params.yaml"


def test_the_nearest_project_counts(project):
    inner = project.root / "inner"
    inner.mkdir()
    (inner / "params.yaml").touch()
    assert find_project(inner).root == inner


def test_a_folder_named_params_yaml_is_no_project(tmp_path):
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(
        UsageError,
        match=re.escape(f"{tmp_path} is not in a project: no params.yaml here or above."),
    ):
        find_project(tmp_path)


def test_checkpoints_of_two_fingerprints_never_meet(project):
    assert project.checkpoints("m", "a" * 64) != project.checkpoints("m", "b" * 64)
    assert project.checkpoints("m", "a" * 64) != project.checkpoints("n", "a" * 64)


# -- one at a time -----------------------------------------------------------------------------


def hold(project):
    """Another process that holds the project until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_and_told_who_holds_the_project(project):
    with hold(project) as other:
        with pytest.raises(
            UsageError,
            match=rf"another run \(process {other.pid}, by hand\) is at work in {project.root}",
        ):
            with exclusive(project):
                pytest.fail("both processes hold the project")
        other.communicate("")
    with exclusive(project):
        pass


def test_a_killed_run_does_not_leave_the_project_locked(project):
    with hold(project) as other:
        other.kill()
        other.wait()
        with exclusive(project):
            assert (project.cache / "run.lock").read_text() == f"{os.getpid()}, by hand"


def test_a_failed_run_does_not_leave_the_project_locked(project):
    with pytest.raises(ZeroDivisionError), exclusive(project):
        1 / 0  # noqa: B018
    with exclusive(project):
        pass


def test_a_folder_that_cannot_be_written_is_told_in_words(project):
    (project.root / ".atelier").touch()
    with (
        pytest.raises(UsageError, match=re.escape(f"{project.root} can't be written: ")),
        exclusive(project),
    ):
        pytest.fail("there is nowhere to lock")


# -- environment -------------------------------------------------------------------------------


def test_the_environment_points_into_the_project_and_is_silent(project, no_variables):
    set_environment(project)
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{project.root}/mlflow.db"
    assert os.environ["PREFECT_HOME"] == str(project.root / ".prefect")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DVC_NO_ANALYTICS"] == os.environ["DO_NOT_TRACK"] == "1"


def test_what_the_user_has_set_is_never_changed(project, no_variables, monkeypatch):
    set_environment(project)
    names = os.environ.keys() - no_variables.keys() - {"NO_PROXY"}  # which is only added to
    assert {"MLFLOW_TRACKING_URI", "PREFECT_HOME", "GOMP_SPINCOUNT"} <= names
    for name in names:
        monkeypatch.setenv(name, "mine")
    set_environment(project)
    assert {os.environ[name] for name in names} == {"mine"}


# -- provenance --------------------------------------------------------------------------------


def git(root, *arguments):
    identity = [
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@example.org",
        "-c",
        "commit.gpgsign=false",
    ]
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a.txt").write_text("one\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_clean_repository_is_its_commit(repository):
    commit = git(repository, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert git_state(repository) == GitState(commit, False)


@pytest.mark.parametrize("content", [b"two\n", b"two\r\nlines\r\n", b"\0\1\2", "zwölf\n".encode()])
@pytest.mark.parametrize("staged", [False, True])
def test_an_uncommitted_change_is_kept_as_a_diff_that_applies(
    repository, staged, content, tmp_path_factory
):
    clone = tmp_path_factory.mktemp("clone")
    git(clone, "clone", "--quiet", str(repository), ".")
    git(repository, "config", "color.ui", "always")
    git(repository, "config", "diff.noprefix", "true")
    (repository / "a.txt").write_bytes(content)
    if staged:
        git(repository, "add", ".")
    state = git_state(repository)
    assert state.dirty
    (clone / "uncommitted.diff").write_bytes(state.uncommitted.diff)
    git(clone, "apply", "uncommitted.diff")
    assert (clone / "a.txt").read_bytes() == content


def test_a_file_that_git_ignores_does_not(repository):
    (repository / ".git" / "info" / "exclude").write_text("new.py\n")
    (repository / "new.py").touch()
    assert not git_state(repository).dirty


def test_without_a_commit_or_a_repository_the_identity_is_empty(tmp_path, monkeypatch):
    assert git_state(tmp_path) == GitState("", False)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a.txt").touch()
    assert git_state(tmp_path) == GitState("", True)


def test_where_there_is_no_git_a_repository_is_not_taken_for_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == GitState("", False)
    (tmp_path / ".git").mkdir()
    with pytest.raises(ProvenanceError, match="git is not installed"):
        git_state(tmp_path)


def test_the_list_of_packages_is_a_requirements_file():
    lines = installed_packages().splitlines()
    assert lines == sorted(lines, key=str.lower)
    assert all(re.fullmatch(r"[\w.-]+==\S+", line) for line in lines)
    assert any(line.startswith("torch==") for line in lines)
