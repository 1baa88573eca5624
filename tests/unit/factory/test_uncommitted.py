"""Whatever differs from a commit is stored byte by byte, and proven to apply when it is stored."""

import os
import subprocess

import pytest

from atelier.data.versions import history
from atelier.errors import ProvenanceError
from atelier.factory.provenance import git_state
from atelier.factory.uncommitted import MAX_FILE_BYTES, MAX_FILES, _scratch_index, _why_not_the_same
from atelier.machine import git
from atelier.review.worktree import check_out, describe_commit
from tests.support.dvc_projects import commit, run

LATIN = "größer\n".encode("latin-1")


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    (root / "project").mkdir(parents=True)
    run(root, "git", "init", "-q")
    (root / "project" / "code.py").write_text("one = 1\n")
    (root / "project" / "gone.py").write_text("")
    (root / ".gitignore").write_text("*.tmp\n")
    commit(root, "first")
    return root


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def seen_by_git(folder):
    commands = (("status", "--porcelain"), ("count-objects",), ("ls-files", "--stage"))
    return [run(folder, "git", *command) for command in commands]


def test_every_kind_of_change_comes_back_byte_by_byte(repository):
    project = repository / "project"
    (project / "code.py").write_bytes(LATIN + b"no line end")
    (project / "gone.py").unlink()
    (project / "new.py").write_bytes(b"# \xe9\r\n")
    (project / "weights.bin").write_bytes(bytes(range(256)) * 9)
    (project / "empty.py").touch()
    (project / "a name\nwith \xfc.py").write_text("x = 1\n")
    (repository / "beside.py").write_text("y = 1\n")
    run(repository, "git", "config", "diff.context", "0")
    before = seen_by_git(repository)
    state = git_state(project)
    assert (state.uncommitted.problem, state.uncommitted.left_out) == ("", "")
    assert seen_by_git(repository) == before
    with check_out(project, state.commit, state.uncommitted.diff) as worktree:
        assert files(worktree.top) == files(repository)


def test_what_is_left_out_is_named(repository):
    project = repository / "project"
    (project / "large.py").write_bytes(bytes(MAX_FILE_BYTES + 1))
    (project / ".env").write_text("PASSWORD=x")
    (project / "kept.py").write_text("k = 1\n")
    (project / "unseen.tmp").touch()
    (project / "mlruns").mkdir()
    (project / "mlruns" / "meta.yaml").touch()
    run(project, "git", "init", "-q", "other")
    taken = git_state(project).uncommitted
    assert b"kept.py" in taken.diff
    assert not any(word in taken.diff for word in (b"PASSWORD", b"large", b"mlruns", b"unseen"))
    assert "project/large.py (5.0 MiB, with which" in taken.left_out
    assert "project/.env (it may hold a secret)" in taken.left_out
    assert "project/other/ (a repository of its own)" in taken.left_out
    assert "mlruns" not in taken.left_out and "unseen" not in taken.left_out


def test_code_goes_before_the_pictures_of_a_large_folder(repository):
    for number in range(MAX_FILES + 3):
        (repository / f"{number}.png").write_bytes(b"x")
    (repository / "late.py").write_text("late = 1\n" * 100)
    taken = git_state(repository).uncommitted
    assert b"late.py" in taken.diff and "and" not in taken.left_out.split(".png")[0]
    assert taken.left_out.count(".png") == 4 and taken.problem == ""


def test_a_patch_that_does_not_make_the_same_files_is_found_out(repository):
    (repository / "project" / "code.py").write_text("one = 2\n")
    diff = git_state(repository).uncommitted.diff
    with _scratch_index(repository) as variables:
        git.answer(repository, "add", "--update", ".", variables=variables)
        assert _why_not_the_same(repository, diff, variables) == ""
        other = diff.replace(b"one = 2", b"one = 3")
        assert "make other files" in _why_not_the_same(repository, other, variables)
        damaged = diff.replace(b"-one = 1", b"-one = 9")
        assert "do not apply to their commit: error: patch failed: project/code.py" in (
            _why_not_the_same(repository, damaged, variables)
        )
        assert "make other files" in _why_not_the_same(repository, b"", variables)


def test_a_file_in_a_merge_conflict_is_stored_as_it_lies_there(repository):
    code = repository / "project" / "code.py"
    run(repository, "git", "branch", "other")
    code.write_text("one = 2\n")
    commit(repository, "ours")
    run(repository, "git", "checkout", "-q", "other")
    code.write_text("one = 3\n")
    commit(repository, "theirs")
    with pytest.raises(subprocess.CalledProcessError):
        run(repository, "git", "-c", "user.name=test", "-c", "user.email=t@localhost", "merge", "-")
    state = git_state(repository)
    with check_out(repository, state.commit, state.uncommitted.diff) as worktree:
        assert b"<<<<<<<" in (worktree.top / "project" / "code.py").read_bytes()
        assert files(worktree.top) == files(repository)


def test_a_submodule_comes_back_and_its_own_changes_are_named(repository, tmp_path):
    run(tmp_path, "git", "init", "-q", "library")
    (tmp_path / "library" / "lib.py").write_text("v = 1\n")
    commit(tmp_path / "library", "one")
    allowed = ("-c", "protocol.file.allow=always")
    add = ("submodule", "--quiet", "add", str(tmp_path / "library"), "lib")
    run(repository, "git", *allowed, *add)
    commit(repository, "with a submodule")
    (repository / "lib" / "lib.py").write_text("v = 2\n")
    commit(repository / "lib", "two")
    state = git_state(repository)
    assert state.dirty and state.uncommitted.left_out == ""
    with check_out(repository, state.commit, state.uncommitted.diff) as worktree:
        assert (worktree.top / "lib" / "lib.py").read_text() == "v = 2\n"
    assert run(repository, "git", "worktree", "list").count("\n") == 1
    (repository / "lib" / "new.py").touch()
    taken = git_state(repository).uncommitted
    assert taken.left_out == "lib (a submodule with uncommitted changes of its own)"
    run(repository, "git", "submodule", "--quiet", "deinit", "-f", "lib")
    with pytest.raises(ProvenanceError, match="submodule lib is needed at commit .*update --init"):
        with check_out(repository, state.commit, state.uncommitted.diff):
            raise AssertionError


def ask_all(root):
    commit_now = "0" * 40
    return (
        lambda: git_state(root),
        lambda: git.knows(root, commit_now),
        lambda: describe_commit(root, commit_now),
        lambda: history.commits(root),
        lambda: history.md5_at(root, "HEAD"),
    )


def test_a_repository_that_git_refuses_is_not_taken_for_none(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for ask in ask_all(repository / "project"):
        with pytest.raises(ProvenanceError, match="dubious ownership.*safe.directory"):
            ask()


def test_a_damaged_repository_is_not_taken_for_none_or_an_empty_one(repository):
    branch = run(repository, "git", "symbolic-ref", "HEAD").strip()
    (repository / ".git" / branch).write_text("")  # a power cut
    with pytest.raises(ProvenanceError, match="appears to be broken"):
        git_state(repository)
    with pytest.raises(ProvenanceError, match="appears to be broken"):
        history.commits(repository)
    (repository / ".git" / "HEAD").unlink()
    for ask in ask_all(repository):
        with pytest.raises(ProvenanceError, match="not a git repository"):
            ask()
