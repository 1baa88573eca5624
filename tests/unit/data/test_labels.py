"""Tables of labels as people have them: read where only one thing can be meant, else explained."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.ingest import stages
from atelier.data.ingest.portrait import contact_sheet
from atelier.data.ingest.state import dataset_state
from atelier.data.sources.opening import open_source
from atelier.data.store import read_dataset
from atelier.errors import DataError
from atelier.params import Dataset, Source
from tests.support.picture_files import encoded, write_files
from tests.support.properties import examples
from tests.support.stored import ingest_all_stages

PNGS = [encoded((20, 20), seed) for seed in range(8)]
PHOTOS = Dataset(source="folder", path="raw", labels="labels.csv", image_size=16, channels=3)


def opened(project, table, *names):
    content = table if isinstance(table, bytes) else table.encode()
    files = {name: PNGS[place % len(PNGS)] for place, name in enumerate(names)}
    write_files(project / "raw", {**files, "labels.csv": content})
    return open_source(project, Source(source="folder", path="raw", labels="labels.csv"))


def classes(project, table, *names):
    """The class of every picture, and the reason why another file or row is none."""
    items = list(opened(project, table, *names).items)
    return {
        item.name: getattr(item, "class_name", None) or getattr(item, "reason", None)
        for item in items
    }


def refused(project, table, *names):
    with pytest.raises(DataError) as caught:
        opened(project, table, *names)
    assert str(caught.value).encode()
    return str(caught.value)


# --- how a table is written


@pytest.mark.parametrize("separator", [",", ";", "\t", ", ", "; "])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
def test_separators_line_ends_and_a_byte_order_mark_make_no_difference(
    tmp_path, separator, line_end, start
):
    rows = ["file", "label"], ["a.png", "cat"], ["b.png", '"dog, or wolf; both"']
    table = start + line_end.join(separator.join(row) for row in rows) + line_end
    assert classes(tmp_path, table, "a.png", "b.png") == {
        "a.png": "cat",
        "b.png": "dog, or wolf; both",
    }


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_explained(tmp_path, encoding):
    message = refused(tmp_path, "file,label\na.png,cat\n".encode(encoding), "a.png")
    assert "raw/labels.csv: it is UTF-16" in message
    assert "Save it as UTF-8" in message


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis"])
def test_classes_in_a_local_code_page_are_explained(tmp_path, encoding):
    letter = "猫" if encoding == "shift_jis" else "Ä"
    message = refused(
        tmp_path, f"file,label\na.png,cat\nb.png,{letter}\n".encode(encoding), "a.png", "b.png"
    )
    assert "raw/labels.csv: line 3: the class" in message
    assert "is no text in UTF-8" in message


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_paths_in_a_local_code_page_are_explained_unless_the_files_are_called_so(
    tmp_path, encoding
):
    table = "file,label\nÄpfel.png,cat\n".encode(encoding)
    message = refused(tmp_path, table, "Äpfel.png")
    assert (
        "its first row names '\\udcc4pfel.png', which is no UTF-8, and a picture is called "
        "'Äpfel.png'. Save it" in message
    )
    name = os.fsdecode("Äpfel.png".encode(encoding))
    assert classes(tmp_path, table, name)[name] == "cat"


def test_rows_that_would_be_misread_are_named(tmp_path):
    message = refused(tmp_path, "file,label\na, big.png,cat\n", "a, big.png")
    assert "labels.csv: line 2 has 3 fields, the header 2: a, big.png, cat. Put a field" in message
    message = refused(
        tmp_path, 'file,label\na.png,cat\n"b.png,dog\nc.png,cat\n', "a.png", "b.png", "c.png"
    )
    assert "labels.csv: no CSV after line 2: " in message
    assert "two columns are named 'label'" in refused(
        tmp_path, "file,label,label\na.png,cat,dog\n", "a.png"
    )


def test_an_empty_field_too_many_is_no_mistake(tmp_path):
    assert classes(tmp_path, "file,label\na.png,cat,\n\nb.png,dog,,\n", "a.png", "b.png") == {
        "a.png": "cat",
        "b.png": "dog",
    }


@examples(5)
@given(st.binary(max_size=60))
def test_any_table_is_read_or_refused_in_a_sentence(tmp_path_factory, content):
    project = tmp_path_factory.getbasetemp() / "any"
    try:
        found = classes(project, b"file,label\na.png,cat\n" + content, "a.png")
    except DataError as error:
        assert "labels.csv" in str(error)
    else:
        assert found["a.png"] in ("cat", "two labels")


# --- which picture a row names


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("img1", "img1.jpg"),
        ("IMG1.JPG", "img1.jpg"),
        ("img1.jpg", "IMG1.JPG"),
        ("IMG1", "img1.jpeg"),
        ("x\\img1", "x/img1.png"),
        (unicodedata.normalize("NFC", "Äpfel"), unicodedata.normalize("NFD", "Äpfel") + ".png"),
        (unicodedata.normalize("NFD", "ÄPFEL.png"), unicodedata.normalize("NFC", "Äpfel.png")),
        ("No. 7", "No. 7.png"),
        (" img1.jpg ", "img1.jpg"),
    ],
)
def test_a_row_fits_without_ending_in_other_case_and_in_another_unicode_form(tmp_path, row, name):
    assert classes(tmp_path, f"file,label\n{row},cat\nother.png,dog\n", name, "other.png") == {
        name: "cat",
        "other.png": "dog",
    }


def test_a_row_that_may_mean_two_pictures_fits_none(tmp_path):
    table = "file,label\nimg1,cat\nother.png,dog\n"
    assert classes(tmp_path, table, "img1.png", "img1.jpg", "other.png")["img1"] == "missing"
    assert classes(tmp_path, table, "IMG1.png", "img1.jpg", "other.png")["img1"] == "missing"


def test_a_row_that_fits_exactly_goes_before_one_that_fits_somehow(tmp_path):
    table = "file,label\na.png,cat\nA.png,dog\nA,bird\n"
    assert classes(tmp_path, table, "a.png", "A.png") == {
        "a.png": "cat",
        "A.png": "dog",
        "A": "missing",
    }
    twins = [unicodedata.normalize(form, "Ä.png") for form in ("NFC", "NFD")]
    table = "file,label\n" + "".join(
        f"{name},{label}\n" for name, label in zip(twins, "xy", strict=True)
    )
    assert classes(tmp_path / "twins", table, *twins) == dict(zip(twins, "xy", strict=True))


def test_a_file_beside_a_picture_does_not_make_its_row_ambiguous(tmp_path):
    write_files(tmp_path / "raw", {"img1.json": b"{}", "img1": b"no picture"})
    assert classes(tmp_path, "file,label\nIMG1,cat\n", "img1.png")["img1.png"] == "cat"


# --- rows without pictures, pictures without rows


def test_a_table_that_names_no_picture_is_refused_with_examples(tmp_path):
    message = refused(tmp_path, "file,label\nid-1.dat,cat\nid-2.dat,dog\n", "x/1.png", "x/2.png")
    assert "raw/labels.csv names none of the 2 pictures" in message
    assert "its first row names 'id-1.dat', and a picture is called 'x/1.png'" in message
    assert "max_quarantined" not in message
    assert "it has no rows" in refused(tmp_path, "file,label\n", "x/1.png")


def test_rows_without_a_picture_are_counted_apart_from_pictures(tmp_path):
    rows = [f"{n}.png,cat" for n in range(4)] + ["gone-1.png,dog", "gone-2.png,dog"]
    opened(tmp_path, "file,label\n" + "\n".join(rows), *(f"{n}.png" for n in range(4)))
    with pytest.raises(
        DataError, match=r"2 rows name a picture that is not there \(of 4 that are\)"
    ) as caught:
        ingest_all_stages(tmp_path, "photos", PHOTOS)
    assert "gone-1.png: missing named by labels.csv" in str(caught.value)
    assert "Correct the table of labels." in str(caught.value)
    assert "raise" not in str(caught.value)
    write_files(tmp_path / "raw", {"bad.png": b"no picture"})
    with pytest.raises(
        DataError, match=r"1 of 5 pictures are unusable \(20\.0%\) and 2 rows name a picture"
    ):
        ingest_all_stages(tmp_path, "photos", PHOTOS)


def test_pictures_without_a_row_are_a_warning(tmp_path):
    warnings = opened(tmp_path, "file,label\na.png,cat\n", "a.png", "b.png", "c.png").warnings
    assert warnings == (
        "2 of 3 pictures have no row in labels.csv, so they have no class: b.png, c.png",
    )


# --- labels that were kept back


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_split_without_labels_is_stored_shown_and_ingested_again(tmp_path, split):
    names = [
        *(f"train/{name}/{n}.png" for name in ("cat", "dog") for n in range(6)),
        *(f"{split}/{n}.png" for n in range(5)),
    ]
    write_files(
        tmp_path / "raw", {name: encoded((20, 20), 20 + place) for place, name in enumerate(names)}
    )
    photos = Dataset(source="folder", path="raw", image_size=16, channels=3)
    folder = stages.read(tmp_path, "photos", photos)
    findings = stages.validate(tmp_path, "photos", photos, folder)
    assert any("has a class, but those of train have" in warning for warning in findings.warnings)
    stages.store(tmp_path, "photos", photos, folder, findings)
    stored = read_dataset(tmp_path, "photos")
    kept_back = "validation" if split == "val" else "test"
    assert stored.info.counts[kept_back] == 5
    assert stored.labels(kept_back).tolist() == [-1] * 5
    assert contact_sheet(stored, kept_back) is not None
    assert dataset_state(tmp_path, "photos", photos) == ("fresh", [])
