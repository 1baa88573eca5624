"""Which files are restored and where to; what is refused before any work."""

import os
import re
from pathlib import Path

import pytest

from atelier.errors import UsageError
from atelier.serving.files.listing import list_jobs
from tests.support.picture_files import encoded, write_files

PICTURE = encoded((8, 8))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("photos/a.png", "photos/2020/b.JPG", "photos/2020/may/c", "photos/.hidden/d.png")
    write_files(tmp_path, dict.fromkeys([*names, "photos/._e.png", "other/a.png"], PICTURE))
    write_files(tmp_path, {"photos/notes.txt": b"no picture"})
    return tmp_path


def targets(*inputs, output="out", **options):
    jobs = list_jobs([Path(name) for name in inputs], Path(output), **options)
    return {str(job.source): str(job.target) for job in jobs}


def refusal(*inputs, **options):
    before = sorted(Path().rglob("*"))
    with pytest.raises(UsageError) as error:
        targets(*inputs, **options)
    assert sorted(Path().rglob("*")) == before
    return str(error.value)


def test_a_folder_is_searched_to_its_ends_and_its_structure_kept(root):
    told = []
    assert targets("photos", tell=told.append) == {
        "photos/a.png": "out/a.png",
        "photos/2020/b.JPG": "out/2020/b.JPG",
        "photos/2020/may/c": "out/2020/may/c",
    }
    assert told == ["photos holds 1 other files, which were left out"]


def test_a_pattern_that_the_shell_left_is_expanded(root):
    assert targets("photos/**/*.JPG") == {"photos/2020/b.JPG": "out/2020/b.JPG"}
    assert targets("photos/*.png") == {"photos/a.png": "out/a.png"}
    assert targets("photos/20?0/*") == {"photos/2020/b.JPG": "out/2020/b.JPG"}
    assert refusal("photos/*.gif") == "photos/*.gif fits no pictures (0 other files)."


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(root):
    (root / "a[1].png").write_bytes(PICTURE)
    assert targets("a[1].png") == {"a[1].png": "out/a[1].png"}


def test_another_format_changes_the_ending_and_nothing_else(root):
    (root / "photos" / "v1.2").write_bytes(PICTURE)
    assert targets("photos", file_format="JPEG") == {
        "photos/a.png": "out/a.jpg",
        "photos/v1.2": "out/v1.2.jpg",
        "photos/2020/b.JPG": "out/2020/b.jpg",
        "photos/2020/may/c": "out/2020/may/c.jpg",
    }


def test_what_is_given_twice_is_restored_once(root):
    assert targets("photos/a.png", "photos/a.png", "photos/*.png") == {"photos/a.png": "out/a.png"}


def test_before_and_after_lie_beside_the_result(root):
    (job,) = list_jobs([Path("photos/a.png")], Path("out"), compare=True)
    assert job.targets() == [Path("out/a-compare.png"), Path("out/a.png")]


@pytest.mark.parametrize("names", [("a.png", "A.png"), ("\u00e9.png", "e\u0301.png")])
def test_names_that_are_one_on_some_file_systems_are_refused(root, names):
    write_files(root, {f"same/{name}": PICTURE for name in names})
    assert "would both become" in refusal("same")


def test_two_results_of_one_name_are_refused_with_both_sources(root):
    message = refusal("photos", "other")
    assert message.startswith("photos/a.png and other/a.png would both become out/a.png. Nothing")
    write_files(root, {"photos/a.jpg": encoded((8, 8), file_format="JPEG")})
    assert "would both become out/a.webp" in refusal("photos", file_format="WEBP")
    write_files(root, {"photos/a-compare.png": PICTURE})
    assert "would both become out/a-compare.png" in refusal("photos", compare=True)


@pytest.mark.parametrize("output", ["photos", "photos/out", "photos/../photos/out"])
def test_results_inside_of_an_input_folder_are_refused(root, output):
    assert f"would lie in {output}, inside of photos" in refusal("photos", output=output)
    assert "inside of photos" in refusal("photos/**/*.png", output=output)


def test_an_input_is_never_overwritten_by_whatever_way(root):
    expected = "is one of the inputs and would be overwritten. Name another folder."
    for existing in ("refuse", "skip", "overwrite"):
        assert expected in refusal("photos/a.png", output="photos", existing=existing)
        (root / "link").unlink(missing_ok=True)
        (root / "link").symlink_to(root / "photos")
        assert expected in refusal("photos/a.png", output="link", existing=existing)
    # In a folder that holds those of the inputs.
    write_files(root, {"set/set/x/b.png": PICTURE, "set/x/b.png": PICTURE})
    assert expected in refusal("set/set", "set/x", output="set")


def test_what_is_there_is_refused_skipped_or_overwritten_as_asked_for(root):
    write_files(root, {"out/a.png": b"somebody's"})
    assert refusal("photos") == (
        "out/a.png was there before. Nothing was restored. Name another folder with -o, or give "
        "--skip-existing or --overwrite."
    )
    assert sorted(targets("photos", existing="skip").values()) == [
        "out/2020/b.JPG",
        "out/2020/may/c",
    ]
    assert len(targets("photos", existing="overwrite")) == 3
    # Without its comparison it is not done.
    assert "photos/a.png" in targets("photos", existing="skip", compare=True)


def test_a_folder_without_pictures_and_an_input_that_is_not_there_are_refused(root):
    (root / "empty").mkdir()
    assert refusal("empty") == "empty holds no pictures (0 other files)."
    assert refusal("photos", "none.png") == "none.png does not exist."


def test_a_place_that_can_be_no_folder_is_refused(root):
    assert "can't be a folder: " in refusal("photos", output="other/a.png/out")
    if os.geteuid() != 0:
        (root / "other").chmod(0o500)
        assert "is not writable for you" in refusal("photos", output="other/out")
        (root / "other").chmod(0o700)


def test_links_to_folders_are_not_followed_and_those_to_files_are(root):
    (root / "photos" / "loop").symlink_to(root / "photos")
    (root / "photos" / "link.png").symlink_to(root / "other" / "a.png")
    names = targets("photos")
    assert "photos/link.png" in names
    assert not any(re.search("loop", name) for name in names)
