import hashlib
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atelier.data import store, writer
from atelier.data.ingest import DatasetRecord, dataset_state, ingest
from atelier.data.pictures import Picture, Rejected, Source, content_hash
from atelier.data.splits import SPLITS
from atelier.data.staging import building, swap_in
from atelier.data.store import NO_LABEL, read_dataset
from atelier.errors import DataError
from atelier.params import Dataset

PHOTOS = Dataset(
    source="folder",
    path="raw",
    image_size=16,
    channels=3,
    test_fraction=0.25,
    validation_fraction=0.25,
    max_quarantined=0.5,
)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)


def fill(folder, numbers=range(40)):
    """Forty pictures in two classes; two of them outside of every class."""
    for number in numbers:
        path = folder / ("", "cat", "dog")[0 if number >= 38 else 1 + number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path)


def contents(project):
    return {path.name: path.read_bytes() for path in (project / "data" / "photos").iterdir()}


@pytest.fixture
def project(tmp_path):
    fill(tmp_path / "raw")
    return tmp_path


def write(project, pictures, dataset, rejected=()):
    """Store pictures without a source, as `ingest` does."""
    source = Source(("a", "b"), iter([*pictures, *rejected]))
    with building(project, "made") as new, tempfile.TemporaryFile(dir=new.parent) as spool:
        rows, rejected = writer.spool_images(source.items, dataset, spool)
        writer.write_dataset(new, dataset, source, "digest", rows, rejected, spool)
        swap_in(project, "made", new)
    return read_dataset(project, "made")


@settings(max_examples=15, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=20, unique=True),
    channels=st.sampled_from([1, 3]),
    per_shard=st.integers(1, 7),
    own_split=st.sampled_from([None, False, True]),
    name=st.text(min_size=1, max_size=5),
)
def test_what_is_stored_is_read_again(seeds, channels, per_shard, own_split, name):
    dataset = PHOTOS.model_copy(update={"channels": channels})
    made = [np.random.default_rng(seed).integers(0, 256, (16, 16, channels), np.uint8) for seed in seeds]
    items = [Picture(f"{name}{i}", pixels, (None, 0, 1)[i % 3], own_split) for i, pixels in enumerate(made)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SHARD_BYTES", per_shard * made[0].nbytes)
        stored = write(Path(folder), items, dataset, [Rejected(f'{name},"\n', "odd")])
        by_hash = {content_hash(item.pixels_HWC): item for item in items}
        seen = []
        for split in SPLITS:
            images, labels, hashes = stored.images(split), stored.labels(split), stored.hashes(split)
            assert images.shape == (stored.info.counts[split], 16, 16, channels)
            assert len(images) == len(labels) == len(hashes)
            for i, (label, sha256) in enumerate(zip(labels, hashes, strict=True)):
                assert content_hash(images[i]) == sha256
                assert label == (NO_LABEL if by_hash[sha256].label is None else by_hash[sha256].label)
            order = np.random.default_rng(0).permutation(len(images))
            np.testing.assert_array_equal(images[order], images[:][order])
            np.testing.assert_array_equal(images[1:-1:2], images[:][1:-1:2])
            seen += hashes
        assert sorted(seen) == sorted(by_hash)
        assert own_split is not True or stored.info.counts["test"] == len(seeds)
        assert own_split is not False or stored.info.counts["test"] == 0
        assert stored.num_quarantined == 1
        assert len(stored.names()) == len(seeds) + 1


def test_ingest_stores_every_picture_with_its_class(project):
    record = ingest(project, "photos", PHOTOS)
    stored = read_dataset(project, "photos")
    assert record == DatasetRecord("photos", stored.digest, stored.info.counts, 0, changed=True)
    assert sum(record.num_images.values()) == 40
    assert stored.info.class_names == ("cat", "dog")
    assert stored.info.num_classes == 2
    expected = {content_hash(picture(i)): NO_LABEL if i >= 38 else i % 2 for i in range(40)}
    found = {h: int(x) for s in SPLITS for h, x in zip(stored.hashes(s), stored.labels(s), strict=True)}
    assert found == expected


def test_a_folder_without_subfolders_has_no_classes(tmp_path):
    fill(tmp_path / "raw", range(38, 40))
    ingest(tmp_path, "photos", PHOTOS)
    stored = read_dataset(tmp_path, "photos")
    assert stored.info.num_classes == 0
    assert stored.labels("train") is None


def test_equal_input_gives_equal_bytes_whatever_the_order_of_creation(tmp_path):
    for name, numbers in (("one", range(40)), ("two", reversed(range(40)))):
        fill(tmp_path / name / "raw", numbers)
        ingest(tmp_path / name, "photos", PHOTOS)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_ingest_writes_nothing(project):
    first = ingest(project, "photos", PHOTOS)
    before = {path: path.stat() for path in (project / "data" / "photos").iterdir()}
    again = ingest(project, "photos", PHOTOS)
    assert (first.changed, again.changed) == (True, False)
    assert again.digest == first.digest
    for path, stat in before.items():
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == (stat.st_mtime_ns, stat.st_ino)


def test_renamed_and_new_files_leave_every_image_in_its_split(project):
    def splits():
        stored = read_dataset(project, "photos")
        return {sha256: split for split in SPLITS for sha256 in stored.hashes(split)}

    ingest(project, "photos", PHOTOS)
    before = splits()
    for path in list((project / "raw" / "cat").iterdir()):
        path.rename(path.with_name(f"renamed-{path.name}"))
    ingest(project, "photos", PHOTOS)
    assert splits() == before
    fill(project / "raw", range(100, 130))
    ingest(project, "photos", PHOTOS)
    assert splits().items() > before.items()


def test_equal_pixels_are_stored_once_also_under_another_encoding(project):
    shutil.copy(project / "raw" / "cat" / "00.png", project / "raw" / "dog" / "copy.png")
    Image.open(project / "raw" / "cat" / "00.png").save(project / "raw" / "dog" / "copy.bmp")
    record = ingest(project, "photos", PHOTOS)
    assert (sum(record.num_images.values()), record.num_quarantined) == (40, 2)
    table = contents(project)["quarantine.csv"].decode()
    assert table == "name,reason\ndog/copy.bmp,duplicate of cat/00.png\ndog/copy.png,duplicate of cat/00.png\n"


def test_too_many_unusable_files_stop_before_anything_is_replaced(project):
    ingest(project, "photos", PHOTOS)
    before = contents(project)
    for number in range(41):
        (project / "raw" / f"bad-{number:02d}.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"41 of 81 files are unusable \(50\.6%\), more than max_quarantined = 50\.0%"):
        ingest(project, "photos", PHOTOS)
    assert contents(project) == before
    table = project / ".atelier" / "quarantine-photos.csv"
    assert len(table.read_text().splitlines()) == 42
    (project / "raw" / "bad-00.png").unlink()
    assert ingest(project, "photos", PHOTOS).num_quarantined == 40
    assert not table.exists()


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="the source raw holds no files"):
        ingest(tmp_path, "photos", PHOTOS)


@pytest.mark.parametrize("blocked", ["data", "data/photos", ".atelier"])
def test_a_place_that_cannot_be_written_is_named(project, blocked):
    (project / blocked).parent.mkdir(exist_ok=True)
    (project / blocked).write_text("a file where a folder is needed: root is stopped by it, too")
    with pytest.raises(DataError, match=f"data/photos can't be written: .*{blocked}"):
        ingest(project, "photos", PHOTOS)
    assert (project / blocked).is_file()
    assert not list(project.glob(".atelier/tmp/*.new"))


def test_a_full_disk_leaves_the_old_state(project):
    ingest(project, "photos", PHOTOS)
    before = contents(project)
    fill(project / "raw", range(100, 130))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50 * 768, limits[1]))  # bytes: fifty images fit in a file
    try:
        with pytest.raises(DataError, match="data/photos can't be written: .*File too large"):
            ingest(project, "photos", PHOTOS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(project) == before
    assert not list(project.glob(".atelier/tmp/*.new"))


KILLED = """
import itertools, os, pathlib, sys
from atelier.data.ingest import ingest
from atelier.params import Dataset
calls, rename = itertools.count(), pathlib.Path.rename
def killed(self, target):
    if next(calls) == int(sys.argv[3]):
        os._exit(9)
    return rename(self, target)
pathlib.Path.rename = killed
ingest(pathlib.Path(sys.argv[1]), "photos", Dataset.model_validate_json(sys.argv[2]))
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_at_any_moment_the_old_or_the_new_state_is_there(project, renames):
    ingest(project, "photos", PHOTOS)
    before = contents(project)
    fill(project / "raw", range(100, 110))
    command = [sys.executable, "-c", KILLED, str(project), PHOTOS.model_dump_json(), str(renames)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == (9 if renames < 2 else 0)  # there are two renames
    stored = read_dataset(project, "photos")
    assert sum(stored.info.counts.values()) == (40 if renames < 2 else 50)
    assert renames == 2 or contents(project) == before
    assert ingest(project, "photos", PHOTOS).changed == (renames < 2)
    assert sum(read_dataset(project, "photos").info.counts.values()) == 50
    assert [path.name for path in (project / ".atelier" / "tmp").iterdir()] == ["data-photos.lock"]


def test_the_state_tells_what_is_stale_and_why(project):
    assert dataset_state(project, "photos", PHOTOS) == ("missing", ["not ingested yet"])
    ingest(project, "photos", PHOTOS)
    assert dataset_state(project, "photos", PHOTOS) == ("fresh", [])
    larger = PHOTOS.model_copy(update={"image_size": 32, "test_fraction": 0.5})
    assert dataset_state(project, "photos", larger) == (
        "stale",
        ["params: image_size 16 -> 32", "params: test_fraction 0.25 -> 0.5"],
    )
    fill(project / "raw", range(100, 103))
    (project / "raw" / "cat" / "00.png").unlink()
    expected = ("stale", ["data: the source changed (3 files added, 1 removed)"])
    assert dataset_state(project, "photos", PHOTOS) == expected
    ingest(project, "photos", PHOTOS)
    shutil.copy(project / "raw" / "cat" / "02.png", project / "raw" / "cat" / "04.png")
    expected = ("stale", ["data: the source changed (contents of known files)"])
    assert dataset_state(project, "photos", PHOTOS) == expected


def test_stored_data_is_fresh_where_the_source_is_not(project):
    ingest(project, "photos", PHOTOS)
    (project / "raw").rename(project / "elsewhere")
    state, reasons = dataset_state(project, "photos", PHOTOS)
    assert state == "fresh"
    assert "the stored version is used; the source is not here: " in reasons[0]
    moved = PHOTOS.model_copy(update={"path": str(project / "elsewhere")})
    assert dataset_state(project, "photos", moved) == ("fresh", [])
    assert not ingest(project, "photos", moved).changed  # where the pictures lie is no part of the data


def damage_shard(folder):
    with (folder / "shard-00000.bin").open("ab") as file:
        file.write(b"x")


def damage_manifest(folder):
    path = folder / "manifest.csv"
    path.write_bytes(path.read_bytes()[:-200])


def damage_description(folder):
    (folder / "dataset.json").write_text("{}")


@pytest.mark.parametrize("damage", [damage_shard, damage_manifest, damage_description])
def test_damage_is_named_makes_the_data_stale_and_is_repaired(project, damage):
    ingest(project, "photos", PHOTOS)
    before = contents(project)
    damage(project / "data" / "photos")
    with pytest.raises(DataError, match="data/photos is damaged: .* Run `dvc checkout"):
        read_dataset(project, "photos")
    assert dataset_state(project, "photos", PHOTOS)[0] == "stale"
    assert ingest(project, "photos", PHOTOS).changed
    assert contents(project) == before


def test_another_format_version_is_refused_by_number(project):
    ingest(project, "photos", PHOTOS)
    path = project / "data" / "photos" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 2}))
    with pytest.raises(DataError, match="data/photos is stored in format 2; this atelier reads 1"):
        read_dataset(project, "photos")


def test_a_dataset_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="data/photos does not exist. Run `atelier run`"):
        read_dataset(tmp_path, "photos")
    assert not list(tmp_path.iterdir())  # a reader writes nothing


def test_shards_hold_no_more_than_their_size_and_equal_the_manifest(project, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_BYTES", 5 * 768 + 700)
    ingest(project, "photos", PHOTOS)
    files = contents(project)
    shards = sorted(name for name in files if name.startswith("shard-"))
    assert [len(files[name]) for name in shards] == [5 * 768] * 8
    rows = [line.split(",") for line in files["manifest.csv"].decode().splitlines()]
    assert tuple(rows[0]) == store.ManifestRow._fields
    for sha256, _, _, _, height, width, channels, shard, offset in rows[1:]:
        pixels = files[shard][int(offset) : int(offset) + 768]
        assert hashlib.sha256(f"{height}x{width}x{channels}:".encode() + pixels).hexdigest() == sha256
    assert [(SPLITS.index(row[3]), row[0]) for row in rows[1:]] == sorted(
        (SPLITS.index(row[3]), row[0]) for row in rows[1:]
    )


def test_an_open_dataset_survives_its_replacement(project):
    ingest(project, "photos", PHOTOS)
    images = read_dataset(project, "photos").images("train")
    before = images[:].copy()
    fill(project / "raw", range(100, 130))
    ingest(project, "photos", PHOTOS)
    np.testing.assert_array_equal(images[:], before)


def test_fashion_mnist_end_to_end(tmp_path, fashion_source):
    fashion = Dataset(source="fashion-mnist", path=str(fashion_source), image_size=28, channels=1)
    record = ingest(tmp_path, "fashion", fashion)
    assert record.num_images == {"train": 57_026, "validation": 2_974, "test": 10_000}
    # The same on every machine: computed on Linux x86-64, 2026.
    assert record.digest == "1e8492223dbd356ae0d98cfb2a26299c14b8b91cffd46d60e62c2a2045d39038"
    stored = read_dataset(tmp_path, "fashion")
    assert np.bincount(stored.labels("test")).tolist() == [1000] * 10
    assert len(set(itertools.chain(*(stored.hashes(split) for split in SPLITS)))) == 70_000
