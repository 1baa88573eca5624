import json

import pytest

from atelier.errors import UsageError
from atelier.project import Project
from atelier.ui.outputs import default_output, refuse_overwriting, write_output, write_outputs


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").touch()
    return Project(tmp_path)


def test_an_output_is_replaced_by_the_next_unless_somebody_changed_it(project, tmp_path):
    path = tmp_path / "new" / "report.html"
    for content in (b"first", b"second"):
        write_output(project, path, content)
        assert path.read_bytes() == content
    path.write_bytes(b"second, with my notes")
    with pytest.raises(
        UsageError, match=r"report\.html was there before: .* Name another file with -o"
    ):
        write_output(project, path, b"third")
    assert path.read_bytes() == b"second, with my notes"
    assert [child.name for child in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("make", ["file", "folder", "link to a file", "broken link"])
def test_what_atelier_did_not_write_is_never_replaced(project, tmp_path, make):
    path, other = tmp_path / "card.html", tmp_path / "other.html"
    if make == "folder":
        path.mkdir()
    elif make == "file":
        path.write_text("mine")
    else:
        path.symlink_to(other)
        if make == "link to a file":
            other.write_text("mine")
    with pytest.raises(UsageError, match="was there before"):
        refuse_overwriting(project, path)
    with pytest.raises(UsageError, match="was there before"):
        write_output(project, path, b"ours")
    assert not other.exists() or other.read_text() == "mine"
    assert path.is_dir() if make == "folder" else path.is_symlink() or path.read_text() == "mine"


def test_a_lost_or_damaged_record_protects_rather_than_overwrites(project, tmp_path):
    path = tmp_path / "report.html"
    write_output(project, path, b"first")
    for damage in ("{", "[]", json.dumps({str(path): "0"})):
        (tmp_path / ".atelier" / "outputs.json").write_text(damage)
        with pytest.raises(UsageError, match="was there before"):
            write_output(project, path, b"second")
    assert path.read_bytes() == b"first"


def test_a_place_that_cannot_be_written_to_is_named_and_leaves_nothing(project, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        UsageError, match=r"file/report\.html can't be written: (Not a directory|File exists)"
    ):
        write_output(project, tmp_path / "file" / "report.html", b"page")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "params.yaml"]


def test_of_several_files_none_is_written_if_one_is_somebody_elses(project, tmp_path):
    first = tmp_path / "1.png"
    second = tmp_path / "2.png"
    second.write_text("mine")
    with pytest.raises(UsageError, match=r"2\.png was there before"):
        write_outputs(project, {first: b"ours", second: b"ours"})
    assert not first.exists()
    second.unlink()
    for content in (b"ours", b"newer"):
        write_outputs(project, {first: content, second: content})
        assert first.read_bytes() == second.read_bytes() == content


def test_what_was_written_before_an_error_can_be_replaced(project, tmp_path):
    (tmp_path / "file").touch()
    first = tmp_path / "1.png"
    with pytest.raises(UsageError, match=r"file/2\.png can't be written"):
        write_outputs(project, {first: b"ours", tmp_path / "file" / "2.png": b"ours"})
    write_outputs(project, {first: b"newer"})
    assert first.read_bytes() == b"newer"


def test_the_folder_for_results_is_one_that_git_does_not_see(project, tmp_path):
    write_output(project, default_output(project, "report.html"), b"page")
    write_output(project, default_output(project, "card.html"), b"page")
    found = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert found == [".gitignore", "card.html", "report.html"]
    assert (tmp_path / "results" / ".gitignore").read_text() == "*\n"


def test_a_moved_project_still_knows_what_it_wrote(project, tmp_path):
    write_output(project, project.root / "results" / "report.html", b"first")
    new = tmp_path.with_name(f"{tmp_path.name}-moved")
    project.root.rename(new)
    write_output(Project(new), new / "results" / "report.html", b"second")
    assert (new / "results" / "report.html").read_bytes() == b"second"
