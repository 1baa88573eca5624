"""The three stages from a folder of real files to data/<name>, and what stops them."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from atelier.data import ingest, reading
from atelier.data.manifest import NO_LABEL
from atelier.data.pictures import content_hash
from atelier.data.store import LOCAL_NOTES, read_dataset
from atelier.errors import DataError
from atelier.params import Dataset
from tests.stored import ingest_all_stages

PHOTOS = Dataset(
    source="folder", path="raw", image_size=16, channels=3, test_fraction=0.25, validation_fraction=0.25,
    max_quarantined=0.5,
)  # fmt: skip
OWN_SIZE = PHOTOS.model_copy(update={"image_size": None, "min_size": 16})


def picture(seed, height=16, width=16):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def fill(folder, numbers=range(40)):
    """Forty pictures in two classes; two of them outside of every class."""
    for number in numbers:
        path = folder / ("", "cat", "dog")[0 if number % 100 >= 38 else 1 + number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, 16 + number % 3)).save(path)


def versioned(project, name="photos"):
    """Contents of the files that data.dvc counts."""
    folder = project / "data" / name
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in LOCAL_NOTES}


def splits_of(project, name="photos"):
    rows = read_dataset(project, name).manifest.rows()
    return {row.sha256: row.split for row in rows}


@pytest.fixture
def project(tmp_path):
    fill(tmp_path / "raw")
    return tmp_path


# -- what is stored --------------------------------------------------------------------------------------------------


def test_every_picture_is_stored_with_its_class(tmp_path):
    for number in range(40):
        path = tmp_path / "raw" / ("", "cat", "dog")[0 if number >= 38 else 1 + number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path)
    record = ingest_all_stages(tmp_path, "photos", PHOTOS)
    stored = read_dataset(tmp_path, "photos")
    assert record == ingest.DatasetRecord("photos", stored.digest, stored.info.counts, 0, changed=True)
    assert stored.info.class_names == ("cat", "dog")
    expected = {content_hash(picture(i)): NO_LABEL if i >= 38 else i % 2 for i in range(40)}
    assert {row.sha256: row.label for row in stored.manifest.rows()} == expected


def test_pictures_that_keep_their_size_are_stored_pixel_by_pixel(project):
    ingest_all_stages(project, "photos", OWN_SIZE)
    stored = read_dataset(project, "photos")
    expected = {content_hash(picture(number, 16 + number % 3)) for number in range(40)}
    assert set(stored.manifest.sha256) == expected
    assert set(stored.manifest.heights.tolist()) == {16, 17, 18}
    assert stored.info.image_size is None


def test_several_sources_become_one_dataset(project):
    fill(project / "more", range(100, 110))
    os.rename(project / "more" / "dog", project / "more" / "bird")
    both = Dataset.model_validate(
        {
            "sources": ({"source": "folder", "path": "raw"}, {"source": "folder", "path": "more"}),
            "image_size": 16,
            "channels": 3,
        }  # fmt: skip
    )
    ingest_all_stages(project, "photos", both)
    stored = read_dataset(project, "photos")
    assert stored.info.class_names == ("bird", "cat", "dog")
    assert np.bincount(stored.manifest.sources).tolist() == [40, 10]
    names = (project / "data" / "photos" / "names.csv").read_text()
    assert "\nraw/cat/00.png," in names
    assert "\nmore/bird/101.png," in names
    twice = both.model_copy(update={"sources": (both.sources[0], both.sources[0])})
    with pytest.raises(DataError, match=r"40 of 80 pictures are unusable"):
        ingest_all_stages(project, "photos", twice)


# -- the same input gives the same bytes -----------------------------------------------------------------------------


def test_neither_order_nor_cores_nor_names_change_a_byte(tmp_path, monkeypatch):
    for name, numbers in (("one", range(40)), ("two", reversed(range(40)))):
        fill(tmp_path / name / "raw", numbers)
        shutil.copy(tmp_path / name / "raw" / "cat" / "00.png", tmp_path / name / "raw" / "cat" / "copy.png")
        (tmp_path / name / "raw" / "broken.png").write_bytes(b"no picture")
    for number, path in enumerate(sorted((tmp_path / "two" / "raw").rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"renamed-{number}.png"))
    ingest_all_stages(tmp_path / "one", "photos", PHOTOS)
    monkeypatch.setattr(reading, "num_cores", lambda: 7)
    monkeypatch.setattr(reading, "WORTH_A_THREAD", 0.0)
    ingest_all_stages(tmp_path / "two", "photos", PHOTOS)
    assert versioned(tmp_path / "one") == versioned(tmp_path / "two")


def test_a_renamed_file_changes_the_names_and_nothing_else(project):
    first = ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    (project / "raw" / "cat" / "00.png").rename(project / "raw" / "cat" / "zero.png")
    assert ingest.dataset_state(project, "photos", PHOTOS) == ("fresh", [])
    again = ingest_all_stages(project, "photos", PHOTOS)
    assert (first.changed, again.changed) == (True, False)
    assert versioned(project) == before
    assert "cat/zero.png," in (project / "data" / "photos" / "names.csv").read_text()


def test_a_second_ingest_writes_nothing(project):
    ingest_all_stages(project, "photos", PHOTOS)
    before = {path: path.stat() for path in (project / "data" / "photos").iterdir() if path.name not in LOCAL_NOTES}
    assert not ingest_all_stages(project, "photos", PHOTOS).changed
    for path, stat in before.items():
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == (stat.st_mtime_ns, stat.st_ino)


# -- versions --------------------------------------------------------------------------------------------------------


def test_more_pictures_are_added_in_new_shards_and_every_image_keeps_its_split(project):
    ingest_all_stages(project, "photos", PHOTOS)
    before, splits = versioned(project), splits_of(project)
    fill(project / "raw", range(100, 130))
    ingest_all_stages(project, "photos", PHOTOS)
    after = versioned(project)
    assert {name for name in after if name.startswith("shard-")} == {"shard-00000.bin", "shard-00001.bin"}
    assert after["shard-00000.bin"] == before["shard-00000.bin"]
    assert len(after["shard-00001.bin"]) == 30 * 16 * 16 * 3
    assert splits_of(project).items() > splits.items()
    stored = read_dataset(project, "photos")
    images = stored.all_images()
    assert [content_hash(images[row]) for row in range(70)] == stored.manifest.sha256


def test_grown_data_equal_data_that_were_ingested_at_once_but_for_the_shards(project, tmp_path):
    ingest_all_stages(project, "photos", PHOTOS)
    fill(project / "raw", range(100, 130))
    grown = ingest_all_stages(project, "photos", PHOTOS)
    shutil.copytree(project / "raw", tmp_path / "other" / "raw")
    assert ingest_all_stages(tmp_path / "other", "photos", PHOTOS).digest == grown.digest


def test_images_keep_their_split_when_the_source_brings_a_test_split_of_its_own(project):
    ingest_all_stages(project, "photos", PHOTOS)
    before = splits_of(project)
    for path in sorted((project / "raw").glob("*/*.png")):
        target = project / "raw" / ("test" if path.name > "20.png" else "train") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for path in (project / "raw").glob("*.png"):
        path.unlink()
    for name in ("cat", "dog"):
        (project / "raw" / name).rmdir()
    ingest_all_stages(project, "photos", PHOTOS)
    assert splits_of(project).items() <= before.items()


def test_other_fractions_make_other_splits(project):
    ingest_all_stages(project, "photos", PHOTOS)
    all_test = PHOTOS.model_copy(update={"test_fraction": 0.99})
    assert ingest_all_stages(project, "photos", all_test).num_images["test"] > 35


def test_another_size_writes_everything_anew(project):
    ingest_all_stages(project, "photos", OWN_SIZE)
    ingest_all_stages(project, "photos", PHOTOS)
    stored = read_dataset(project, "photos")
    assert stored.images("train").shape[1:] == (16, 16, 3)
    assert [path.name for path in (project / "data" / "photos").glob("shard-*")] == ["shard-00000.bin"]
    assert (project / "data" / "photos" / "shard-00000.bin").stat().st_size == 40 * 768


def damage_pixels(folder):
    path = folder / "shard-00000.bin"
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.unlink()  # DVC's cache may hold the same file
    path.write_bytes(content)


def shorten_the_manifest(folder):
    path = folder / "manifest.csv"
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("damage", [damage_pixels, shorten_the_manifest])
def test_an_ingest_repairs_what_was_damaged(project, damage):
    ingest_all_stages(project, "photos", PHOTOS)
    damage(project / "data" / "photos")
    ingest_all_stages(project, "photos", PHOTOS)
    stored = read_dataset(project, "photos")
    images = stored.all_images()
    assert [content_hash(images[row]) for row in range(40)] == stored.manifest.sha256


# -- what stops it ---------------------------------------------------------------------------------------------------


def test_too_many_unusable_files_stop_before_anything_is_replaced(project):
    ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    for number in range(41):
        (project / "raw" / f"bad-{number:02d}.png").write_bytes(b"not a picture")
    (project / "raw" / "notes.txt").write_text("other files don't count")
    with pytest.raises(DataError, match=r"41 of 81 pictures are unusable \(50\.6%\), more than max_quarantined = 50"):
        ingest_all_stages(project, "photos", PHOTOS)
    assert versioned(project) == before
    table = project / ".atelier" / "quarantine-photos.csv"
    assert len(table.read_text().splitlines()) == 1 + 42
    assert len(ingest.quarantine_rows(project, "photos", project / "gone")) == 42
    assert not list((project / ".atelier" / "tmp").glob("read-*"))  # nor the pixels of what is not stored
    (project / "raw" / "bad-00.png").unlink()
    assert ingest_all_stages(project, "photos", PHOTOS).num_quarantined == 41
    assert not table.exists()


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="raw holds no pictures"):
        ingest_all_stages(tmp_path, "photos", PHOTOS)


@pytest.mark.parametrize("blocked", ["data", "data/photos", ".atelier"])
def test_a_place_that_cannot_be_written_is_named(project, blocked):
    (project / blocked).parent.mkdir(exist_ok=True)
    (project / blocked).write_text("a file where a folder is needed: root is stopped by it, too")
    with pytest.raises(DataError, match=f"data/photos can't be written: .*{blocked}"):
        ingest_all_stages(project, "photos", PHOTOS)
    assert (project / blocked).is_file()
    assert not list(project.glob(".atelier/tmp/*.new"))


@pytest.mark.parametrize("num_bytes", [50 * 768, 5000])  # fifty images fit in the file; not even the tables do
def test_a_full_disk_leaves_the_old_state(project, num_bytes):
    ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    fill(project / "raw", range(100, 170))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        with pytest.raises(DataError, match="data/photos can't be written: .*File too large"):
            ingest_all_stages(project, "photos", PHOTOS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert versioned(project) == before


STAGES = """
import pathlib, sys
from atelier.params import Dataset
from tests.stored import ingest_all_stages
print("started", flush=True)
ingest_all_stages(pathlib.Path(sys.argv[1]), "photos", Dataset.model_validate_json(sys.argv[2]))
"""
RENAMES = """
import itertools, os, pathlib, sys
calls, rename = itertools.count(), pathlib.Path.rename
def killed(self, target):
    if next(calls) == int(sys.argv[3]):
        os._exit(9)
    return rename(self, target)
pathlib.Path.rename = killed
"""


def run_stages(project, script, *arguments):
    command = [sys.executable, "-c", script, str(project), PHOTOS.model_dump_json(), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_between_two_renames_the_old_or_the_new_state_is_there(project, renames):
    ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    fill(project / "raw", range(100, 110))
    assert run_stages(project, RENAMES + STAGES, str(renames)).wait() == (9 if renames < 2 else 0)  # there are two
    assert sum(read_dataset(project, "photos").info.counts.values()) == (40 if renames < 2 else 50)
    assert renames == 2 or versioned(project) == before
    assert ingest_all_stages(project, "photos", PHOTOS).changed == (renames < 2)
    assert sum(read_dataset(project, "photos").info.counts.values()) == 50
    assert [path.name for path in (project / ".atelier" / "tmp").iterdir()] == ["data-photos.lock"]


def test_killed_at_random_moments_the_next_run_finishes_with_the_same_bytes(project, tmp_path):
    ingest_all_stages(project, "photos", PHOTOS)
    before = versioned(project)
    fill(project / "raw", range(100, 400))
    shutil.copytree(project, tmp_path / "unharmed")
    ingest_all_stages(tmp_path / "unharmed", "photos", PHOTOS)
    after = versioned(tmp_path / "unharmed")
    moments = random.Random(7)
    killed = 0
    for _ in range(6):
        process = run_stages(project, STAGES)
        assert process.stdout.readline() == "started\n"
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        read_dataset(project, "photos")
        assert versioned(project) in (before, after)
    assert killed > 2
    ingest_all_stages(project, "photos", PHOTOS)
    assert versioned(project) == after


# -- what is stale, and why ------------------------------------------------------------------------------------------


def test_the_state_tells_what_is_stale_and_why(project):
    assert ingest.dataset_state(project, "photos", PHOTOS) == ("missing", ["not ingested yet"])
    ingest_all_stages(project, "photos", PHOTOS)
    assert ingest.dataset_state(project, "photos", PHOTOS) == ("fresh", [])
    larger = PHOTOS.model_copy(update={"image_size": 32, "test_fraction": 0.5})
    assert ingest.dataset_state(project, "photos", larger) == (
        "stale",
        ["params: image_size 16 -> 32", "params: test_fraction 0.25 -> 0.5"],
    )
    fill(project / "raw", range(100, 103))
    (project / "raw" / "cat" / "00.png").unlink()
    expected = ("stale", ["data: the source changed (3 files added, 1 removed)"])
    assert ingest.dataset_state(project, "photos", PHOTOS) == expected
    ingest_all_stages(project, "photos", PHOTOS)
    shutil.copy(project / "raw" / "cat" / "02.png", project / "raw" / "cat" / "04.png")
    expected = ("stale", ["data: the source changed (contents of known files)"])
    assert ingest.dataset_state(project, "photos", PHOTOS) == expected


def test_stored_data_is_fresh_where_the_source_is_not(project):
    ingest_all_stages(project, "photos", PHOTOS)
    (project / "raw").rename(project / "elsewhere")
    state, reasons = ingest.dataset_state(project, "photos", PHOTOS)
    assert state == "fresh"
    assert "the stored version is used; the source is not here: " in reasons[0]
    moved = PHOTOS.model_copy(
        update={"sources": (PHOTOS.sources[0].model_copy(update={"path": str(project / "elsewhere")}),)}
    )
    assert ingest.dataset_state(project, "photos", moved) == ("fresh", [])
    assert not ingest_all_stages(project, "photos", moved).changed  # where the pictures lie is no part of the data
