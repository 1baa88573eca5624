"""What is no picture has no say, and no picture is left out in silence."""

import os

import pytest

from atelier.data.ingest import stages
from atelier.data.sources.opening import open_source, source_digest
from atelier.data.store import read_dataset
from atelier.errors import DataError
from atelier.params import Dataset, Source
from tests.support.picture_files import encoded, packed, write_files
from tests.support.stored import ingest_all_stages

PHOTOS = Dataset(source="folder", path="raw", image_size=16, channels=3, max_quarantined=0.5)
SPLIT = {
    f"{split}/{name}/{n}.png": encoded((20, 20), seed * 10 + n)
    for seed, (split, name) in enumerate(
        (split, name) for split in ("train", "test") for name in ("cat", "dog")
    )
    for n in range(3)
}
PNG = encoded((20, 20), 1)
README = {"README.txt": b"about"}
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def found_in(project, files, kind="folder"):
    """Class and split of every picture, the reasons of all else, and warnings."""
    if kind == "folder":
        write_files(project / "raw", files)
        source = open_source(project, Source(source="folder", path="raw"))
    else:
        (project / "pictures").write_bytes(packed(list(files.items()), kind))
        source = open_source(project, Source(source="archive", path="pictures"))
    items = list(source.items)
    places = {item.name: (item.class_name, item.split) for item in items if hasattr(item, "split")}
    return (
        places,
        {item.name: item.reason for item in items if hasattr(item, "reason")},
        source.warnings,
    )


def warnings_of(project, dataset=PHOTOS):
    return list(
        stages.validate(
            project, "photos", dataset, stages.read(project, "photos", dataset)
        ).warnings
    )


# --- what is a picture


FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]
NAMES = [
    "Statue No. 7 front",
    "7.png?w=640&q=80",
    "scan",
    "1.jpg~",
    "photo.2021-01-01",
    "IMG_1.JPG ",
    "x.txt",
]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_a_picture_is_one_whatever_it_is_called(tmp_path, kind):
    files = {
        f"cat/{place} {name}": encoded((20, 20), 3, file_format=file_format)
        for place, file_format in enumerate(FORMATS)
        for name in NAMES
    }
    places, others, _ = found_in(tmp_path, files, kind)
    assert places.keys() == files.keys()
    assert others == {}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_by_catch_is_none_whatever_it_starts_like(tmp_path, kind):
    files = {
        "BMW": b"BMW and other makes, a list of all",
        "sound": b"RIFF\x24\0\0\0WAVEfmt and so on, and on",
        "film": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
        "empty": b"",
        "Icon\r": b"",
        "notes.v2": b"short",
        "a.png": encoded((20, 20), 1),
    }
    places, others, _ = found_in(tmp_path, files, kind)
    assert list(places) == ["a.png"]
    assert others == dict.fromkeys(files.keys() - {"a.png"}, "other file")


@pytest.mark.parametrize(
    "start", [HEIC, b"8BPS\0\1", b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x18ftypavif", b"v/1\x01\2"]
)
def test_pictures_of_other_formats_hurt_though_their_names_say_nothing(tmp_path, start):
    write_files(
        tmp_path / "raw",
        {"IMG 1": start, "IMG 2": start, "README": b"about", "a.png": encoded((20, 20), 1)},
    )
    with pytest.raises(DataError, match=r"2 of 3 pictures are unusable"):
        ingest_all_stages(tmp_path, "photos", PHOTOS)


def test_raw_photographs_are_not_taken_for_the_tiff_that_they_start_like(tmp_path):
    tiff = encoded((20, 20), 1, file_format="TIFF")
    _, others, _ = found_in(tmp_path, {"a.nef": tiff, "a.PEF": tiff, "a.srw": tiff})
    assert set(others.values()) == {"not a picture"}


def test_a_file_that_turns_into_a_picture_changes_the_digest(tmp_path):
    write_files(tmp_path / "raw", {"a.png": encoded((20, 20), 1), "scan 1. page": b"still empty"})
    before = source_digest(tmp_path, Source(source="folder", path="raw"))
    write_files(tmp_path / "raw", {"scan 1. page": encoded((20, 20), 2)})
    assert source_digest(tmp_path, Source(source="folder", path="raw")) != before


def test_no_pipe_blocks_and_a_broken_link_is_told(tmp_path):
    write_files(tmp_path / "raw", {"a.png": encoded((20, 20), 1)})
    os.mkfifo(tmp_path / "raw" / "pipe")
    (tmp_path / "raw" / "Statue No. 3").symlink_to("nowhere")
    _, others, warnings = found_in(tmp_path, {})
    assert others == {"pipe": "not a file", "Statue No. 3": "not a file"}
    assert warnings == ("2 files, links or pipes can't be read: Statue No. 3, pipe",)


def test_the_page_counts_pictures_not_by_catch(tmp_path):
    write_files(
        tmp_path / "raw",
        {**README, "LICENSE": b"MIT", "a.png": encoded((20, 20), 1), "b.png": b"none"},
    )
    folder = stages.read(tmp_path, "photos", PHOTOS)
    page = stages.validate(tmp_path, "photos", PHOTOS, folder).page()
    assert "1 pictures are in quarantine" in page
    assert "| other file | 2 |" in page


# --- who has a say in classes and splits


@pytest.mark.parametrize(
    "by_catch", ["README.txt", "docs/LICENSE", "docs/data.json", "labels.old", "Thumbs.db"]
)
@pytest.mark.parametrize("top", ["", "pets/"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_by_catch_beside_the_folders_changes_neither_classes_nor_splits(
    tmp_path, kind, top, by_catch
):
    files = {top + name: content for name, content in SPLIT.items()}
    alone, _, _ = found_in(tmp_path, files, kind)
    places, others, warnings = found_in(tmp_path, {by_catch: b"about", **files}, kind)
    assert places == alone
    assert places[f"{top}test/cat/1.png"] == ("cat", "test")
    assert others == {by_catch: "other file"}
    assert warnings == ()


def test_pictures_of_other_formats_beside_the_folders_have_no_say(tmp_path):
    places, _, _ = found_in(tmp_path, {"cover.heic": HEIC, "cover": HEIC, **SPLIT})
    assert places["test/cat/1.png"] == ("cat", "test")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_picture_beside_the_splits_makes_them_classes_but_that_is_said(tmp_path, kind):
    places, _, warnings = found_in(tmp_path, {"preview.png": encoded((20, 20), 99), **SPLIT}, kind)
    assert places["test/cat/1.png"] == ("test", None)
    assert warnings == (
        "folders called test and train are not taken for splits: 1 pictures do not lie in such a "
        "folder at the top: "
        "preview.png",
    )


@pytest.mark.parametrize("above", ["set/pets/", "photos/"])
def test_splits_below_another_folder_are_none_but_that_is_said(tmp_path, above):
    places, _, [warning] = found_in(
        tmp_path, {above + name: content for name, content in SPLIT.items()}
    )
    assert {split for _, split in places.values()} == {None}
    assert warning.startswith("folders called test and train are not taken for splits: 12 pictures")


def test_a_class_called_like_a_split_is_no_reason_to_warn(tmp_path):
    files = {"train/1.png": encoded((20, 20), 1), "plane/1.png": encoded((20, 20), 2)}
    assert found_in(tmp_path, files)[2] == ()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_class_that_holds_only_pictures_of_other_formats_is_named(tmp_path, kind):
    files = {
        "cat/1.png": PNG,
        "cat/2.heic": HEIC,
        "dog/1.heic": HEIC,
        "emu/IMG 1": HEIC,
        "docs/README.txt": b"about",
    }
    assert found_in(tmp_path, files, kind)[2] == (
        "2 classes hold only pictures of formats that are not read: dog, emu. Convert them to PNG",
    )


# --- links


def test_the_pictures_of_a_class_that_is_a_link_count_as_unusable(tmp_path):
    pictures = {f"{n}.png": encoded((20, 20), n) for n in range(6)}
    write_files(
        tmp_path / "elsewhere", {**pictures, "sub/no ending": pictures["0.png"], "notes.txt": b"x"}
    )
    write_files(
        tmp_path / "raw" / "cat",
        {f"c{name}": encoded((20, 20), n + 50) for n, name in enumerate(pictures)},
    )
    (tmp_path / "raw" / "dog").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"7 of 13 pictures are unusable"):
        ingest_all_stages(tmp_path, "photos", PHOTOS)
    warnings = warnings_of(tmp_path, PHOTOS.model_copy(update={"max_quarantined": 0.6}))
    assert any("links to folders are not followed: dog" in warning for warning in warnings)


@pytest.mark.parametrize("target", [".", "..", "cat"])
def test_a_link_to_pictures_that_are_read_anyway_is_one_row(tmp_path, target):
    write_files(
        tmp_path / "raw", {"cat/1.png": encoded((20, 20), 1), "cat/2.png": encoded((20, 20), 2)}
    )
    (tmp_path / "raw" / "again").symlink_to(target)
    assert found_in(tmp_path, {})[1] == {"again": "not a file"}


# --- classes that vanish or shrink


def test_classes_that_vanish_or_shrink_between_two_ingests_are_named(tmp_path):
    files = {
        f"{name}/{n}.png": encoded((20, 20), 10 * ord(name[0]) + n)
        for name in ("ant", "bee", "cat")
        for n in range(8)
    }
    write_files(tmp_path / "raw", files)
    assert warnings_of(tmp_path) == []
    ingest_all_stages(tmp_path, "photos", PHOTOS)
    for name in [*(f"ant/{n}.png" for n in range(8)), "bee/1.png", "bee/2.png"]:
        (tmp_path / "raw" / name).unlink()
    expected = [
        "1 classes of the version before are gone: ant (8 pictures)",
        "1 classes have fewer pictures than before: bee (8 -> 6)",
    ]
    assert warnings_of(tmp_path) == expected
    assert warnings_of(tmp_path, PHOTOS.model_copy(update={"image_size": 8})) == expected


# --- order


def test_classes_that_are_one_number_have_one_order(tmp_path):
    names = ["1", "01", "2", "02", "001", "\u0661"]  # the last: an Arabic one
    files = {
        f"{name}/{n}.png": encoded((20, 20), 10 * place + n)
        for place, name in enumerate(names)
        for n in range(2)
    }
    write_files(tmp_path / "raw", files)
    ingest_all_stages(tmp_path, "photos", PHOTOS)
    assert read_dataset(tmp_path, "photos").info.class_names == (
        "001",
        "01",
        "1",
        "\u0661",
        "02",
        "2",
    )


def test_a_class_of_more_digits_than_python_converts_is_sorted_by_name(tmp_path):
    table = "file,label\na.png,{}\nb.png,2\n".format("1" * 5000).encode()
    write_files(
        tmp_path / "raw", {"a.png": encoded(seed=1), "b.png": encoded(seed=2), "labels.csv": table}
    )
    ingest_all_stages(
        tmp_path,
        "photos",
        Dataset(source="folder", path="raw", labels="labels.csv", image_size=16, channels=3),
    )
    assert read_dataset(tmp_path, "photos").info.class_names == ("1" * 5000, "2")
