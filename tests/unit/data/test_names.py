"""Names are bytes to file systems and archives; here they become text, one for each."""

import io
import json
import os
import re
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from atelier.data.ingest import stages
from atelier.data.ingest.state import dataset_state
from atelier.data.manifest import read_csv, write_csv
from atelier.data.sources.names import escape
from atelier.data.sources.opening import open_source
from atelier.data.store import read_dataset
from atelier.data.versions import lookup
from atelier.data.versions.history import NOW, open_snapshot
from atelier.errors import DataError
from atelier.params import Dataset, Source
from tests.support.picture_files import encoded, packed, write_files
from tests.support.properties import examples
from tests.support.stored import ingest_all_stages

PHOTOS = Dataset(source="folder", path="raw", image_size=16, channels=3, max_quarantined=0.5)
ODD_NAMES = [
    b"gr\xfcn",
    b"Icon\r",
    b"two\nlines",
    b"a,b",
    b'"quoted"',
    b"back\\slash",
    b"\xe2\x80\xaetxt",
    b"\x1b[31m",
]
DOUBLE_BYTE = ["shift_jis", "gbk", "big5"]


def one_colour():
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "grey").save(buffer, "PNG")
    return buffer.getvalue()


def original(text):
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)


# --- what is shown


@given(st.binary(max_size=40))
def test_every_name_is_shown_as_one_line_of_text_that_leads_back_to_it(raw):
    name = os.fsdecode(raw)
    text = escape(name)
    assert text.encode().decode() == text
    assert len(text.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)
    assert original(text) == name


@examples(5)
@given(st.text(st.sampled_from("\\u0dcafe\r\udcfc"), max_size=12))
def test_a_name_that_looks_escaped_is_told_from_the_one_that_is(name):
    assert original(escape(name)) == name


def test_common_names_are_shown_as_they_are():
    for name in (
        "cat/1.png",
        "Äpfel/日本 1.png",
        "C:\\photos\\1.png",
        'it\'s 50% "off".jpg',
        "👩‍🚀.png",
    ):
        assert escape(name) == name
    assert [escape(name) for name in ("Icon\r", "gr\udcfcn", "x\\u000d")] == [
        "Icon\\u000d",
        "gr\\udcfcn",
        "x\\u005cu000d",
    ]


# --- tables


@examples(3)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_a_table_is_read_as_it_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_csv(path, ("name", "reason"), rows)
    assert read_csv(path.read_bytes()) == [["name", "reason"], *map(list, rows)]


@pytest.mark.parametrize("beside", ["plain", 'with "quotes"', "with, comma"])
def test_a_carriage_return_is_read_as_it_was_written_whatever_stands_beside_it(tmp_path, beside):
    path = tmp_path / "table.csv"
    write_csv(path, ("name",), [("Icon\r",), (beside,), ("a\r\nb",)])
    assert read_csv(path.read_bytes()) == [["name"], ["Icon\r"], [beside], ["a\r\nb"]]


# --- an ingest of files with such names


@pytest.fixture
def project(tmp_path):
    for number, name in enumerate(ODD_NAMES):
        files = {"1.png": encoded((20, 20), number), "2.png": b"no picture"}
        write_files(tmp_path / "raw" / os.fsdecode(name), files)
    write_files(tmp_path / "raw", {os.fsdecode(b"gr\xfcn.png"): encoded((20, 20), 90)})
    return tmp_path


def test_an_ingest_keeps_every_name_as_text_that_services_take(project):
    ingest_all_stages(project, "photos", PHOTOS)
    folder = project / "data" / "photos"
    names = {row[0] for row in read_csv((folder / "names.csv").read_bytes())[1:]}
    assert {original(name) for name in names} == {
        *(f"{os.fsdecode(name)}/1.png" for name in ODD_NAMES),
        os.fsdecode(b"gr\xfcn.png"),
    }
    rows = stages.quarantine_rows(project, "photos", folder)
    assert {original(row["name"]) for row in rows} == {
        f"{os.fsdecode(name)}/2.png" for name in ODD_NAMES
    }
    assert json.dumps(rows, ensure_ascii=False).encode()
    assert set(map(original, read_dataset(project, "photos").info.class_names)) == set(
        map(os.fsdecode, ODD_NAMES)
    )
    assert dataset_state(project, "photos", PHOTOS)[0] == "fresh"


def test_files_added_are_counted_beside_names_that_are_no_text(project):
    ingest_all_stages(project, "photos", PHOTOS)
    write_files(project / "raw", {os.fsdecode(b"n\xe9w.png"): encoded((20, 20), 91)})
    assert dataset_state(project, "photos", PHOTOS)[1] == [
        "data: the source changed (1 files added, 0 removed)"
    ]


def test_what_is_unusable_or_odd_is_named_as_text(tmp_path):
    names = [os.fsdecode(name) for name in (b"d\xfcll.png", b"k\xfcputt.png", b"g\xfcut.png")]
    write_files(
        tmp_path / "raw",
        dict(zip(names, (one_colour(), one_colour()[:60], encoded((20, 20), 1)), strict=True)),
    )
    folder = stages.read(tmp_path, "photos", PHOTOS)
    assert "pictures are of one colour, as good as: d\\udcfcll.png" in "".join(
        stages.validate(tmp_path, "photos", PHOTOS, folder).warnings
    )
    strict = PHOTOS.model_copy(update={"max_quarantined": 0.0})
    with pytest.raises(DataError, match=r"k\\udcfcputt\.png: truncated or damaged") as caught:
        ingest_all_stages(tmp_path, "photos", strict)
    assert str(caught.value).encode()


def test_a_picture_is_found_by_its_name_as_typed_and_as_shown(project):
    ingest_all_stages(project, "photos", PHOTOS)
    snapshot = open_snapshot(project, NOW)
    as_typed = lookup.find(project, snapshot, os.fsdecode(b"gr\xfcn.png"))
    assert as_typed == lookup.find(project, snapshot, "gr\\udcfcn.png")
    assert as_typed.names == ("gr\\udcfcn.png",)


def test_a_project_in_a_folder_whose_name_is_no_text_is_named_as_text(tmp_path):
    with pytest.raises(DataError, match=r"caf\\udce9/raw can't be listed") as caught:
        open_source(tmp_path / os.fsdecode(b"caf\xe9"), Source(source="folder", path="raw"))
    assert str(caught.value).encode()


# --- names in archives


def places(folder, content):
    (folder / "pictures").write_bytes(content)
    items = open_source(folder, Source(source="archive", path="pictures")).items
    return {item.name: getattr(item, "class_name", None) for item in items}


class Unmarked(zipfile.ZipInfo):
    """A header of a zip member whose name is written as bytes, not marked as UTF-8."""

    def __init__(self, raw):
        super().__init__(raw.decode("cp437"))
        self.raw = raw

    def _encodeFilenameFlags(self):  # noqa: N802
        return self.raw, self.flag_bits


def with_names(kind, raws):
    pictures = [encoded((20, 20), number) for number in range(len(raws))]
    if kind == "zip":
        return packed(
            [(Unmarked(raw), picture) for raw, picture in zip(raws, pictures, strict=True)]
        )
    return packed(
        [(os.fsdecode(raw), picture) for raw, picture in zip(raws, pictures, strict=True)], kind
    )


def letters_with_a_backslash(encoding):
    """Letters of two bytes whose second is a backslash."""
    found = []
    for first in range(0x81, 0xFF):
        raw = bytes([first, 0x5C])
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        found.append(raw)
    return found


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("encoding", DOUBLE_BYTE)
def test_a_letter_that_holds_a_backslash_is_not_cut_in_two(tmp_path, kind, encoding):
    letters = letters_with_a_backslash(encoding)
    assert letters
    raws = [letter + ending for letter in letters for ending in (b"x/1.png", b"y/2.png")]
    found = places(tmp_path, with_names(kind, raws))
    assert len(found) == len(raws)
    assert len(set(found.values())) == len(raws)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_backslashes_separate_beside_letters_of_two_bytes(tmp_path, kind):
    raws = [
        "猫\\1.png".encode("shift_jis"),
        "犬\\1.png".encode("shift_jis"),
        "表\\1.png".encode("shift_jis"),
    ]
    assert len(set(places(tmp_path, with_names(kind, raws)).values())) == 3
    assert all(name.endswith("/1.png") for name in places(tmp_path, with_names(kind, raws)))


def test_a_zip_from_macos_is_utf_8_without_saying_so_and_others_are_code_page_437(tmp_path):
    assert set(places(tmp_path, with_names("zip", ["Äpfel/1.png".encode()])).values()) == {None}
    raws = ["Äpfel/1.png".encode(), b"b/1.png"]
    assert set(places(tmp_path, with_names("zip", raws)).values()) == {"Äpfel", "b"}
    raws = ["Äpfel/1.png".encode("cp437"), b"b/1.png"]
    assert set(places(tmp_path, with_names("zip", raws)).values()) == {"Äpfel", "b"}


def test_folder_entries_of_windows_are_no_files(tmp_path):
    folder, marked = zipfile.ZipInfo("cat\\"), zipfile.ZipInfo("dog")
    marked.external_attr = 0x10
    files = [
        (folder, b""),
        ("cat\\1.png", encoded((20, 20), 1)),
        (marked, b""),
        ("dog\\1.png", encoded((20, 20), 2)),
    ]
    assert places(tmp_path, packed(files)) == {"cat/1.png": "cat", "dog/1.png": "dog"}


@examples(2)
@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=5))
def test_any_names_in_a_zip_are_read_or_refused(tmp_path_factory, raws):
    raws = [raw.replace(b"\0", b"") + b"/1.png" for raw in raws]
    found = places(tmp_path_factory.getbasetemp(), with_names("zip", raws))
    assert all(escape(name).encode() for name in found)
