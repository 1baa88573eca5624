"""The three stages from a folder of real files to data/<name>, and what makes them stale."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from atelier.data.ingest import reading, stages
from atelier.data.ingest.state import dataset_state
from atelier.data.manifest import NO_LABEL
from atelier.data.sources.pictures import content_hash
from atelier.data.store import LOCAL_NOTES, read_dataset
from atelier.errors import DataError
from atelier.params import Dataset
from tests.support.noise_pictures import OWN_SIZE, PHOTOS, fill, picture, versioned
from tests.support.stored import ingest_all_stages


def splits_of(project, name="photos"):
    rows = read_dataset(project, name).manifest.rows()
    return {row.sha256: row.split for row in rows}


@pytest.fixture
def project(tmp_path):
    fill(tmp_path / "raw")
    return tmp_path


# -- what is stored ----------------------------------------------------------------------------


def test_every_picture_is_stored_with_its_class(tmp_path):
    for number in range(40):
        path = (
            tmp_path
            / "raw"
            / ("", "cat", "dog")[0 if number >= 38 else 1 + number % 2]
            / f"{number:02d}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path)
    record = ingest_all_stages(tmp_path, "photos", PHOTOS)
    stored = read_dataset(tmp_path, "photos")
    assert record == stages.DatasetRecord(
        "photos", stored.digest, stored.info.counts, 0, changed=True
    )
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
        }
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


# -- the same input gives the same bytes -------------------------------------------------------


def test_neither_order_nor_cores_nor_names_change_a_byte(tmp_path, monkeypatch):
    for name, numbers in (("one", range(40)), ("two", reversed(range(40)))):
        fill(tmp_path / name / "raw", numbers)
        shutil.copy(
            tmp_path / name / "raw" / "cat" / "00.png", tmp_path / name / "raw" / "cat" / "copy.png"
        )
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
    assert dataset_state(project, "photos", PHOTOS) == ("fresh", [])
    again = ingest_all_stages(project, "photos", PHOTOS)
    assert (first.changed, again.changed) == (True, False)
    assert versioned(project) == before
    assert "cat/zero.png," in (project / "data" / "photos" / "names.csv").read_text()


def test_a_second_ingest_writes_nothing(project):
    ingest_all_stages(project, "photos", PHOTOS)
    before = {
        path: path.stat()
        for path in (project / "data" / "photos").iterdir()
        if path.name not in LOCAL_NOTES
    }
    assert not ingest_all_stages(project, "photos", PHOTOS).changed
    for path, stat in before.items():
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == (stat.st_mtime_ns, stat.st_ino)


# -- versions ----------------------------------------------------------------------------------


def test_more_pictures_are_added_in_new_shards_and_every_image_keeps_its_split(project):
    ingest_all_stages(project, "photos", PHOTOS)
    before, splits = versioned(project), splits_of(project)
    fill(project / "raw", range(100, 130))
    ingest_all_stages(project, "photos", PHOTOS)
    after = versioned(project)
    assert {name for name in after if name.startswith("shard-")} == {
        "shard-00000.bin",
        "shard-00001.bin",
    }
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
        target = (
            project
            / "raw"
            / ("test" if path.name > "20.png" else "train")
            / path.parent.name
            / path.name
        )
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
    assert [path.name for path in (project / "data" / "photos").glob("shard-*")] == [
        "shard-00000.bin"
    ]
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


# -- what is stale, and why --------------------------------------------------------------------


def test_the_state_tells_what_is_stale_and_why(project):
    assert dataset_state(project, "photos", PHOTOS) == ("missing", ["not ingested yet"])
    ingest_all_stages(project, "photos", PHOTOS)
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
    ingest_all_stages(project, "photos", PHOTOS)
    shutil.copy(project / "raw" / "cat" / "02.png", project / "raw" / "cat" / "04.png")
    expected = ("stale", ["data: the source changed (contents of known files)"])
    assert dataset_state(project, "photos", PHOTOS) == expected


def test_stored_data_is_fresh_where_the_source_is_not(project):
    ingest_all_stages(project, "photos", PHOTOS)
    (project / "raw").rename(project / "elsewhere")
    state, reasons = dataset_state(project, "photos", PHOTOS)
    assert state == "fresh"
    assert "the stored version is used; the source is not here: " in reasons[0]
    moved = PHOTOS.model_copy(
        update={
            "sources": (PHOTOS.sources[0].model_copy(update={"path": str(project / "elsewhere")}),)
        }
    )
    assert dataset_state(project, "photos", moved) == ("fresh", [])
    assert not ingest_all_stages(
        project, "photos", moved
    ).changed  # where the pictures lie is no part of the data
