import io
import os
import stat
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.sources import archive_members, layout
from atelier.data.sources.archive_members import members
from atelier.data.sources.opening import open_source, source_digest, source_names
from atelier.data.sources.pictures import Encoded, Rejected, Unusable
from atelier.errors import DataError
from atelier.params import Source
from tests.support.picture_files import encoded, packed
from tests.support.properties import examples

KINDS = ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2", "tar.zst"]
PNGS = [encoded((20, 20), seed) for seed in range(6)]


def items_of(folder, content, **keys):
    (folder / "pictures").write_bytes(content)
    source = open_source(folder, Source(source="archive", path="pictures", **keys))
    items = list(source.items)
    assert len(items) == source.num_items
    assert len({item.name for item in items}) == len(items)
    return {item.name: item for item in items}


def places(items):
    return {
        name: (item.class_name, item.split)
        for name, item in items.items()
        if isinstance(item, Encoded)
    }


def reasons(items):
    return {name: item.reason for name, item in items.items() if isinstance(item, Rejected)}


# --- what is read


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_by_its_content_and_read(tmp_path, kind):
    names = [
        "cat/a.png",
        "./cat/deep/er/b.PNG",
        "dog/c.jpg",
        "d.png",
        "dog/README.txt",
        "cat/.e.png",
        "__MACOSX/f.png",
    ]
    contents = [*PNGS[:4], b"about", PNGS[5], b""]
    items = items_of(tmp_path, packed(list(zip(names, contents, strict=True)), kind))
    assert places(items) == {
        "cat/a.png": ("cat", None),
        "cat/deep/er/b.PNG": ("cat", None),
        "dog/c.jpg": ("dog", None),
        "d.png": (None, None),
    }
    assert [items[name].read() for name in places(items)] == PNGS[:4]
    assert reasons(items) == {"dog/README.txt": "other file"}
    assert not [path for path in tmp_path.rglob("*.png")]


def test_a_zst_file_of_several_frames_is_read(tmp_path):
    whole = packed([("a.png", PNGS[0]), ("b.png", PNGS[1])], "tar")
    frames = [pa.Codec("zstd").compress(part, asbytes=True) for part in (whole[:700], whole[700:])]
    assert len(items_of(tmp_path, b"".join(frames))) == 2


def test_the_one_top_folder_of_an_archive_says_nothing(tmp_path):
    items = items_of(tmp_path, packed([("set-1.0/cat/a.png", PNGS[0]), ("set-1.0/b.png", PNGS[1])]))
    assert places(items) == {"set-1.0/cat/a.png": ("cat", None), "set-1.0/b.png": (None, None)}


def test_a_top_folder_named_like_a_split_is_one(tmp_path):
    items = items_of(
        tmp_path, packed([("Training/cat/a.png", PNGS[0]), ("Training/b.png", PNGS[1])])
    )
    assert places(items) == {
        "Training/cat/a.png": ("cat", "train"),
        "Training/b.png": (None, "train"),
    }


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("labels", ["labels.csv", "set/labels.csv"])
def test_a_table_of_labels_may_stand_anywhere_in_the_archive(tmp_path, kind, labels):
    table = b"file,kind\ntrain/a.png,cat\nset/test/b.png,dog\ntest/gone.png,dog\n"
    files = [("set/train/a.png", PNGS[0]), ("set/test/b.png", PNGS[1]), ("set/labels.csv", table)]
    items = items_of(tmp_path, packed(files, kind), labels=labels, label_column="kind")
    assert places(items) == {"set/train/a.png": ("cat", "train"), "set/test/b.png": ("dog", "test")}
    assert reasons(items) == {"test/gone.png": "missing"}


def test_a_missing_table_of_labels_is_named(tmp_path):
    with pytest.raises(DataError, match=r"pictures holds no labels\.csv.*datasets\.NAME\.labels"):
        items_of(tmp_path, packed([("a.png", PNGS[0])]), labels="labels.csv")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_two_members_of_one_name_the_last_is_taken_as_in_unpacking(tmp_path, kind):
    items = items_of(
        tmp_path, packed([("a.png", PNGS[0]), ("b.png", PNGS[1]), ("./a.png", PNGS[2])], kind)
    )
    assert items["a.png"].read() == PNGS[2]
    assert len(items) == 2


def test_a_file_without_an_ending_is_a_picture_if_it_starts_like_one(tmp_path):
    items = items_of(tmp_path, packed([("IMG1", PNGS[0]), ("LICENSE", b"MIT")]))
    assert list(places(items)) == ["IMG1"]
    assert reasons(items) == {"LICENSE": "other file"}


# --- what is refused


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_lead_out_of_the_archive_are_refused(tmp_path, kind):
    unsafe = [
        "/etc/a.png",
        "../b.png",
        "x/../../c.png",
        "C:/d.png",
        "C:e.png",
        "..\\f.png",
        "\\\\server\\g.png",
    ]
    items = items_of(tmp_path, packed([(name, PNGS[0]) for name in [*unsafe, "x/ok.png"]], kind))
    assert reasons(items) == dict.fromkeys(unsafe, "unsafe path")
    assert list(places(items)) == ["x/ok.png"]


def test_links_and_devices_are_refused(tmp_path):
    kinds = {
        "link": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "pipe": tarfile.FIFOTYPE,
        "sparse": tarfile.GNUTYPE_SPARSE,
    }
    headers = []
    for name, kind in kinds.items():
        header = tarfile.TarInfo(f"{name}.png")
        header.type, header.linkname = kind, "/etc/passwd"
        headers.append((header, b""))
    items = items_of(tmp_path, packed([*headers, ("ok.png", PNGS[0])], "tar"))
    assert reasons(items) == {f"{name}.png": "not a file" for name in kinds}
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    items = items_of(tmp_path, packed([(link, "/etc/passwd"), ("ok.png", PNGS[0])]))
    assert reasons(items) == {"link.png": "not a file"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_member_that_is_too_large_is_not_taken_into_memory(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("atelier.data.sources.archive.MAX_FILE_BYTES", 1_000_000)
    content = packed([("bomb.png", bytes(30_000_000)), ("ok.png", PNGS[0])], kind)
    tracemalloc.start()
    items = items_of(tmp_path, content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reasons(items) == {"bomb.png": "too large"}
    assert peak < 12_000_000
    assert layout.MAX_FILE_BYTES > 515 * 2**20


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "tar.bz2", "tar.zst"])
def test_an_archive_that_grows_absurdly_is_a_bomb(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archive_members, "MIN_BOMB_BYTES", 3_000_000)
    content = packed([(f"{number}.png", bytes(1_000_000)) for number in range(4)], kind)
    with pytest.raises(
        DataError, match=r"more than 200 times its own size.*bomb.*unpack it and use the folder"
    ):
        items_of(tmp_path, content)


def test_a_zip_file_that_lies_about_a_size_takes_no_memory(tmp_path):
    content = bytearray(packed([("bomb.png", bytes(100_000_000))]))
    size = (100_000_000).to_bytes(4, "little")
    while (place := content.find(size)) >= 0:
        content[place : place + 4] = (1000).to_bytes(4, "little")
    tracemalloc.start()
    items = items_of(tmp_path, bytes(content))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reasons(items) == {"bomb.png": "truncated or damaged"}
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE]
)
def test_a_tar_header_of_absurd_size_takes_no_memory(tmp_path, kind):
    header = tarfile.TarInfo("x")
    header.type = kind
    content = packed([(header, bytes(50_000_000)), ("a.png", PNGS[0])], "tar.gz")
    tracemalloc.start()
    with pytest.raises(DataError, match="is damaged"):
        items_of(tmp_path, content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000


def test_an_encrypted_zip_file_is_explained(tmp_path):
    content = bytearray(packed([("a.png", PNGS[0])]))
    content[6] |= 1  # the flag in the member's header, and in the central directory
    content[content.find(b"PK\1\2") + 8] |= 1
    with pytest.raises(DataError, match="pictures is encrypted"):
        items_of(tmp_path, bytes(content))


def test_a_zip_file_with_another_compression_is_explained(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", PNGS[0])
    with pytest.raises(DataError, match="compressed in an uncommon way"):
        items_of(tmp_path, buffer.getvalue())


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_archive_is_refused_wherever_it_is_cut(tmp_path, kind):
    whole = packed([(f"{number}.png", content) for number, content in enumerate(PNGS)], kind)
    # A tar file ends in zeros up to a round size; of them, two blocks are the end mark.
    used = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole)
    for length in (0, 3, 100, used // 3, used // 2, used - 30, used - 3):
        with pytest.raises(
            DataError, match="is damaged, or no archive of the kinds that are read: zip, tar"
        ):
            items_of(tmp_path, whole[:length])


def test_a_tar_file_cut_between_two_members_is_refused(tmp_path):
    whole = packed([("a.png", bytes(512)), ("b.png", bytes(512))], "tar")
    with pytest.raises(DataError, match="is damaged"):
        items_of(tmp_path, whole[: 2 * 512])


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path):
    whole = bytearray(packed([("a.png", bytes(512)), ("b.png", bytes(512))], "tar"))
    whole[2 * 512 + 3] ^= 1
    with pytest.raises(DataError, match="is damaged"):
        items_of(tmp_path, bytes(whole))


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "tar.zst"])
def test_a_wrong_checksum_at_the_end_of_a_compressed_tar_file_is_seen(tmp_path, kind):
    whole = bytearray(packed([("a.png", PNGS[0])], kind))
    whole[-6 if kind == "tar.gz" else -3] ^= 1
    if kind == "tar.zst":  # pyarrow writes no checksum; a changed block is seen by its form
        whole[len(whole) // 2 :] = bytes(len(whole) - len(whole) // 2)
    with pytest.raises(DataError, match="is damaged"):
        items_of(tmp_path, bytes(whole))


def test_the_checksum_is_looked_at_where_the_tar_file_ends_with_a_block(tmp_path):
    """Of 5 MiB in blocks of 1 MiB, a reader that stops at the end mark never gets to the
    trailer."""
    content = np.random.default_rng(0).bytes(5 * 2**20 - 3 * 512)
    whole = bytearray(packed([("a.png", content)], "tar.gz"))
    assert list(items_of(tmp_path, bytes(whole))) == ["a.png"]
    whole[-6] ^= 1
    with pytest.raises(DataError, match="is damaged"):
        items_of(tmp_path, bytes(whole))


def test_one_damaged_picture_in_a_zip_file_spares_the_others(tmp_path):
    content = bytearray(packed([("a.png", PNGS[0]), ("b.png", PNGS[1])]))
    content[len(PNGS[0]) // 2] ^= 255
    items = items_of(tmp_path, bytes(content))
    assert reasons(items) == {"a.png": "truncated or damaged"}
    assert items["b.png"].read() == PNGS[1]


@pytest.mark.parametrize(
    "content", [b"", b"7z\xbc\xaf\x27\x1c" + bytes(600), b"Rar!\x1a\7\0" + bytes(600), bytes(99)]
)
def test_what_is_no_archive_is_refused(tmp_path, content):
    with pytest.raises(DataError, match="no archive of the kinds that are read"):
        items_of(tmp_path, content)


WHOLE = {kind: packed([("cat/a.png", PNGS[0]), ("dog/b.png", PNGS[1])], kind) for kind in KINDS}


@examples(3)
@given(st.sampled_from(KINDS), st.data())
def test_archives_with_changed_bytes_never_crash(tmp_path_factory, kind, data):
    content = bytearray(WHOLE[kind][: data.draw(st.integers(0, len(WHOLE[kind])))])
    for _ in range(data.draw(st.integers(0, 6)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(bytes(content))
    try:
        for member in members(path):
            if member.is_file and member.size < 10**7:
                member.read()
    except (DataError, Unusable):
        pass


# --- identity


def test_the_digest_is_the_sum_and_a_wrong_sum_is_refused_with_both(tmp_path):
    (tmp_path / "a.zip").write_bytes(packed([("a.png", PNGS[0])]))
    source = Source(source="archive", path="a.zip")
    digest = source_digest(tmp_path, source)
    assert source_digest(tmp_path, source.model_copy(update={"sha256": digest})) == digest
    assert source_names(tmp_path, source) is None
    wrong = source.model_copy(update={"sha256": "0" * 64})
    for use in (source_digest, open_source):
        with pytest.raises(
            DataError, match=f"a.zip: expected the sha256 {'0' * 64}, found {digest}"
        ):
            use(tmp_path, wrong)


def test_an_archive_that_is_not_there_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("nowhere.zip", ".", "pipe"):
        with pytest.raises(DataError, match=r"is no file that can be read.*datasets\.NAME\.path"):
            open_source(tmp_path, Source(source="archive", path=path))
