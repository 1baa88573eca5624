import subprocess

import pytest

from atelier.errors import ProvenanceError
from atelier.factory.provenance import git_state
from atelier.machine.git import knows
from atelier.review.worktree import changed_files, check_out, describe_commit
from tests.support.dvc_projects import commit, run


@pytest.fixture
def repository(tmp_path):
    """Two commits, a project in a folder of the repository, and a hook that must not run."""
    root = tmp_path / "repository"
    (root / "project").mkdir(parents=True)
    run(root, "git", "init", "-q")
    (root / "project" / "code.py").write_text("one = 1\n")
    commit(root, "first")
    (root / "project" / "code.py").write_text("one = 2\n")
    (root / "later.txt").write_text("later")
    commit(root, "second, with [markup]")
    hook = root / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\ntouch hooked\n")
    hook.chmod(0o755)
    return root


def head(root, revision="HEAD"):
    return run(root, "git", "rev-parse", revision).strip()


def test_the_worktree_is_the_commit_with_its_uncommitted_changes_and_goes_away(repository):
    first, project = head(repository, "HEAD~1"), repository / "project"
    run(repository, "git", "checkout", "-q", first)
    (repository / "hooked").unlink()
    (project / "code.py").write_text("one = 1.5\r\n# größer\n")
    diff = git_state(project).uncommitted.diff
    run(repository, "git", "checkout", "-q", "-f", "-")
    with check_out(project, first, diff) as worktree:
        assert (worktree.project / "code.py").read_bytes() == "one = 1.5\r\n# größer\n".encode()
        assert worktree.project == worktree.top / "project"
        assert not (worktree.top / "later.txt").exists() and not (worktree.top / "hooked").exists()
        assert list(worktree.scratch.iterdir()) == []
    assert not worktree.top.exists()
    assert run(repository, "git", "worktree", "list").count("\n") == 1
    assert (project / "code.py").read_text() == "one = 2\n"


def test_changes_that_do_not_apply_are_an_error_and_leave_nothing(repository):
    diff = b"--- a/project/code.py\n+++ b/project/code.py\n@@ -1 +1 @@\n-three\n+four\n"
    with pytest.raises(
        ProvenanceError,
        match="the stored uncommitted changes do not apply to their commit: .*code.py",
    ):
        with check_out(repository / "project", head(repository), diff):
            raise AssertionError
    assert run(repository, "git", "worktree", "list").count("\n") == 1


def test_a_commit_without_the_project_or_none_at_all_is_an_error(repository):
    other = repository / "other"
    other.mkdir()
    with pytest.raises(
        ProvenanceError, match="has no folder other/: the project was not there then"
    ):
        with check_out(other, head(repository, "HEAD~1"), b""):
            raise AssertionError
    with pytest.raises(ProvenanceError, match="commit 0000000000 can't be checked out"):
        with check_out(repository, "0" * 40, b""):
            raise AssertionError


def test_what_git_knows_of_a_commit(repository):
    first, second = head(repository, "HEAD~1"), head(repository)
    assert (
        knows(repository, second)
        and not knows(repository, "0" * 40)
        and not knows(repository, "--all")
    )
    assert describe_commit(repository, second)["subject"] == "second, with [markup]"
    assert describe_commit(repository, "0" * 40) == {}
    assert "later.txt" in changed_files(repository, first, second)
    assert changed_files(repository, first, "0" * 40) == ""


def test_outside_of_git_nothing_is_known(tmp_path):
    assert not knows(tmp_path, "0" * 40)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert not knows(tmp_path, "HEAD")
