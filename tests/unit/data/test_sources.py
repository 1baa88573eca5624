import json
import os
import shutil
import threading
import time

import pytest

from atelier.data.sources import file_sums
from atelier.data.sources.opening import open_source, source_digest, source_names
from atelier.data.sources.pictures import Encoded, Rejected, Unusable
from atelier.errors import DataError
from atelier.params import Source
from tests.support.picture_files import encoded, write_files

PNGS = [encoded((20, 20), seed) for seed in range(6)]


def folder_at(path="raw", **keys):
    return Source(source="folder", path=path, **keys)


def items_of(project, **keys):
    source = open_source(project, folder_at(**keys))
    items = list(source.items)
    assert len(items) == source.num_items
    return {item.name: item for item in items}


def places(items):
    return {
        name: (item.class_name, item.split)
        for name, item in items.items()
        if isinstance(item, Encoded)
    }


def problem(item):
    """Why an item is no picture, be it known from the start or found when it is read."""
    if isinstance(item, Rejected):
        return item.reason
    with pytest.raises(Unusable) as caught:
        item.read()
    return caught.value.reason


def laid_out(project, *names, **keys):
    """Places of files by name, all of them pictures; class and split."""
    shutil.rmtree(project / "raw", ignore_errors=True)
    write_files(project / "raw", dict.fromkeys(names, PNGS[0]))
    return places(items_of(project, **keys))


# --- folders and their layout


def test_a_folder_is_read_with_its_subfolders_and_without_hidden_files(tmp_path):
    names = [
        "cat/deep/er/b.PNG",
        "d.png",
        "dog/a.png",
        "dog/.e.png",
        ".hidden/f.png",
        "__MACOSX/dog/._a.png",
    ]
    write_files(tmp_path / "raw", dict(zip(names, PNGS, strict=True)))
    items = items_of(tmp_path)
    assert places(items) == {
        "cat/deep/er/b.PNG": ("cat", None),
        "d.png": (None, None),
        "dog/a.png": ("dog", None),
    }
    assert [item.read() for item in items.values()] == PNGS[:3]
    assert source_names(tmp_path, folder_at()) == set(items)


def test_top_folders_named_like_splits_are_splits_and_those_below_are_classes(tmp_path):
    assert laid_out(
        tmp_path, "Train/cat/a.png", "val/dog/x/b.png", "TESTING/c.png", "TESTING/scan"
    ) == {
        "TESTING/scan": (None, "test"),
        "Train/cat/a.png": ("cat", "train"),
        "val/dog/x/b.png": ("dog", "validation"),
        "TESTING/c.png": (None, "test"),
    }
    synonyms = {"train": "training", "validation": "valid dev val", "test": "testing"}
    for split, others in synonyms.items():
        for name in [split, *others.split()]:
            assert laid_out(tmp_path, f"{name}/a.png") == {f"{name}/a.png": (None, split)}


@pytest.mark.parametrize("other", ["a.png", "dog/a.png"])
def test_one_picture_outside_of_them_makes_top_folders_classes(tmp_path, other):
    found = laid_out(tmp_path, "train/cat/a.png", "test/cat/b.png", other)
    assert found["train/cat/a.png"] == ("train", None)
    assert found["test/cat/b.png"] == ("test", None)


def test_class_names_are_the_same_from_macos_and_linux_and_always_text(tmp_path):
    assert set(laid_out(tmp_path, "A\u0308pfel/a.png").values()) == {("\u00c4pfel", None)}
    assert set(laid_out(tmp_path, os.fsdecode(b"caf\xe9/a.png")).values()) == {("caf\\udce9", None)}


def test_by_catch_is_told_from_pictures_that_cannot_be_read(tmp_path):
    files = {
        "README.txt": b"x",
        "Thumbs.db": b"x",
        "LICENSE": b"MIT",
        "a.heic": b"x",
        "b.eps": b"x",
        "scan": PNGS[0],
    }
    write_files(tmp_path / "raw", files)
    items = items_of(tmp_path)
    assert items.pop("scan").read() == PNGS[0]
    assert {name: problem(item) for name, item in items.items()} == {
        "README.txt": "other file",
        "Thumbs.db": "other file",
        "LICENSE": "other file",
        "a.heic": "not a picture",
        "b.eps": "not a picture",
    }


def test_what_is_no_file_is_rejected_and_no_pipe_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("atelier.data.sources.folder.MAX_FILE_BYTES", 10_000)
    raw = tmp_path / "raw"
    write_files(raw, {"good.png": PNGS[0], "large.png": bytes(10_001)})
    (raw / "link.png").symlink_to(raw / "nowhere.png")
    (raw / "circle").symlink_to(raw)
    os.mkfifo(raw / "pipe.png")
    items = items_of(tmp_path)
    assert items.pop("good.png").read() == PNGS[0]
    assert {name: problem(item) for name, item in items.items()} == {
        "large.png": "too large",
        "link.png": "not a file",
        "circle": "not a file",
        "pipe.png": "not a file",
    }


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for use in (open_source, source_digest, source_names):
        with pytest.raises(
            DataError, match=r"raw can't be listed: No such file or directory.*datasets\.NAME\.path"
        ):
            use(tmp_path, folder_at())


# --- tables of labels


def labelled(project, table, *names, labels="labels.csv", **keys):
    write_files(project / "raw", {**dict.fromkeys(names, PNGS[0]), labels: table})
    return items_of(project, labels=labels, **keys)


@pytest.mark.parametrize(
    "column", ["file", "file_name", "filename", "path", "name", "image", "Whatever"]
)
def test_a_table_takes_the_place_of_the_class_folders(tmp_path, column):
    table = f"{column},other,label\n./x/a.png,1,cat\nx\\b.png,2, dog \nc.png,3,\n".encode()
    items = labelled(
        tmp_path, b"\xef\xbb\xbf" + table, "x/a.png", "x/b.png", "c.png", "x/unnamed.png"
    )
    assert places(items) == {
        "c.png": (None, None),
        "x/a.png": ("cat", None),
        "x/b.png": ("dog", None),
        "x/unnamed.png": (None, None),
    }


def test_paths_may_start_at_the_table_and_splits_stay(tmp_path):
    table = b"file,fine,coarse\na.png,1,fruit\ntrain/b.png,2,fruit\n"
    names = ["train/a.png", "train/b.png", "test/a.png"]
    items = labelled(tmp_path, table, *names, labels="train/labels.csv", label_column="fine")
    assert places(items) == {
        "test/a.png": (None, "test"),
        "train/a.png": ("1", "train"),
        "train/b.png": ("2", "train"),
    }


def test_rows_without_a_picture_and_with_two_classes_are_rejected(tmp_path):
    table = b"file,label\ngone.png,cat\ngone.png,cat\na.png,cat\na.png,dog\nb.png,cat\nb.png,cat\n"
    items = labelled(tmp_path, table, "a.png", "b.png")
    assert {name: item.reason for name, item in items.items() if isinstance(item, Rejected)} == {
        "a.png": "two labels",
        "gone.png": "missing",
    }
    assert places(items) == {"b.png": ("cat", None)}


def test_a_table_that_cannot_be_used_is_explained(tmp_path):
    with pytest.raises(
        DataError, match=r"labels\.csv: there is no column 'label'; the columns are file, kind\. "
    ):
        labelled(tmp_path, b"file,kind\na.png,cat\n", "a.png")
    with pytest.raises(DataError, match=r"the columns are none\."):
        labelled(tmp_path, b"", "a.png")
    with pytest.raises(DataError, match=r"labels\.csv: no CSV after line 1: .*field larger"):
        labelled(tmp_path, b"file,label\na.png," + b"x" * 200_000, "a.png")
    with pytest.raises(
        DataError, match=r"raw/other\.csv can't be read: not a file.*datasets\.NAME\.labels"
    ):
        items_of(tmp_path, labels="other.csv")


# --- the identity of a folder


def digest(project, files, **keys):
    shutil.rmtree(project / "raw", ignore_errors=True)
    write_files(project / "raw", files)
    return source_digest(project, folder_at(**keys))


def test_the_digest_sees_what_is_held_and_where_it_belongs_but_no_name_order_or_time(tmp_path):
    files = {"cat/a.png": b"1", "cat/b.png": b"2", "README.md": b"x"}
    same = digest(tmp_path, files)
    for unchanged in (
        dict(reversed(files.items())),
        {"cat/z.jpg": b"2", "cat/deep/b.png": b"1", "README.md": b"x"},
        {**files, "README.md": b"another text"},
        {**files, ".DS_Store": b"x"},
    ):
        assert digest(tmp_path, unchanged) == same
    others = [
        {**files, "cat/a.png": b"3"},
        {**files, "cat/c.png": b"1"},
        {"cat/a.png": b"1", "dog/b.png": b"2", "README.md": b"x"},
        {"cat/a.png": b"1", "README.md": b"x"},
        {**files, "cat/a.txt": b"1"},
        {"train/cat/a.png": b"1", "train/cat/b.png": b"2", "README.md": b"x"},
        {"test/cat/a.png": b"1", "train/cat/b.png": b"2", "README.md": b"x"},
    ]
    assert len({same, *(digest(tmp_path, other) for other in others)}) == len(others) + 1


def test_the_digest_sees_a_changed_label(tmp_path):
    rows = [b"a.png,cat", b"a.png,dog", b"a.png,cat\nb.png,cat"]
    tables = [b"file,label\n" + row + b"\n" for row in rows]
    digests = [
        digest(tmp_path, {"a.png": b"1", "labels.csv": table}, labels="labels.csv")
        for table in tables
    ]
    assert len(set(digests)) == 3
    renamed = {"b.png": b"1", "labels.csv": b"file,label\nb.png,cat\n"}
    assert digest(tmp_path, renamed, labels="labels.csv") == digests[0]


def tables_of_sums(project):
    return list((project / ".atelier" / "sources").glob("sums-*"))


def settle():
    """Wait until the files written so far count as settled."""
    time.sleep(file_sums.UNSETTLED_NS / 1e9 + 0.05)


def test_unchanged_files_are_not_read_again_and_changed_ones_are(tmp_path, monkeypatch):
    monkeypatch.setattr(file_sums, "UNSETTLED_NS", 100_000_000)
    first = digest(tmp_path, {"a.png": b"1", "b.png": b"2"})
    settle()
    source_digest(tmp_path, folder_at())
    read = []
    hashed = file_sums._sha256
    monkeypatch.setattr(file_sums, "_sha256", lambda path: read.append(path.name) or hashed(path))
    assert source_digest(tmp_path, folder_at()) == first
    assert read == []
    stamp = (tmp_path / "raw" / "a.png").stat()
    (tmp_path / "raw" / "a.png").write_bytes(b"3")  # as long as before, and dated back
    os.utime(tmp_path / "raw" / "a.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert source_digest(tmp_path, folder_at()) != first
    assert read == ["a.png"]
    (tmp_path / "raw" / "a.png").unlink()
    source_digest(tmp_path, folder_at())
    assert set(json.loads(tables_of_sums(tmp_path)[0].read_text())) == {"b.png"}


def test_the_sum_of_a_file_changed_just_now_is_not_remembered(tmp_path):
    digest(tmp_path, {"a.png": b"1"})
    assert tables_of_sums(tmp_path) == []


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"a.png": 1}', b'{"a.png": ["x", "y"]}', b"\xff"]
)
def test_a_damaged_table_of_sums_is_ignored_and_replaced(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(file_sums, "UNSETTLED_NS", 0)
    first = digest(tmp_path, {"a.png": b"1"})
    [table] = tables_of_sums(tmp_path)
    whole = table.read_bytes()
    table.write_bytes(damage)
    assert source_digest(tmp_path, folder_at()) == first
    assert table.read_bytes() == whole
    assert tables_of_sums(tmp_path) == [table]


def test_names_that_are_no_text_are_remembered_too(tmp_path, monkeypatch):
    monkeypatch.setattr(file_sums, "UNSETTLED_NS", 0)
    first = digest(tmp_path, {os.fsdecode(b"caf\xe9.png"): b"1"})
    monkeypatch.setattr(file_sums, "_sha256", lambda path: pytest.fail(f"{path} was read again"))
    assert source_digest(tmp_path, folder_at()) == first


def test_digests_taken_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(file_sums, "UNSETTLED_NS", 0)
    first = digest(tmp_path, {f"{number}.png": bytes(number) for number in range(300)})
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(source_digest(tmp_path, folder_at())))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [first] * 8
