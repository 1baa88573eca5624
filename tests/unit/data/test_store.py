import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.images import Shards
from atelier.data.ingest import writer
from atelier.data.manifest import ManifestRow
from atelier.data.sources.pictures import content_hash
from atelier.data.splits import SPLITS
from atelier.data.store import open_version, read_dataset
from atelier.errors import DataError
from tests.support.stored import stored_dataset


def noise(seed, height=16, width=16, channels=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def pairs(stored):
    """{content hash: (class name, split)} of all images."""
    names = (*stored.info.class_names, "")
    rows = stored.manifest.rows()
    return {row.sha256: (names[row.label], row.split) for row in rows}


# -- what is written is read again -------------------------------------------------------------


@given(
    data=st.data(),
    channels=st.sampled_from([1, 3]),
    shard_bytes=st.integers(1, 5000),
    fixed=st.booleans(),
)
def test_what_is_stored_is_read_again(data, channels, shard_bytes, fixed):
    seeds = data.draw(st.lists(st.integers(0, 2**32), min_size=1, max_size=20, unique=True))
    sides = st.just(16) if fixed else st.integers(8, 40)
    pictures = [noise(seed, data.draw(sides), data.draw(sides), channels) for seed in seeds]
    labels = [data.draw(st.sampled_from(["", "cat", "dog"])) for _ in pictures]
    splits = [data.draw(st.sampled_from(SPLITS)) for _ in pictures]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SHARD_BYTES", shard_bytes)
        stored = stored_dataset(
            Path(folder), pictures, labels, splits, image_size=16 if fixed else None
        )
        by_hash = {content_hash(pixels): pixels for pixels in pictures}
        assert pairs(stored) == dict(
            zip(map(content_hash, pictures), zip(labels, splits, strict=True), strict=True)
        )
        for split in SPLITS:
            images, numbers, hashes = (
                stored.images(split),
                stored.labels(split),
                stored.hashes(split),
            )
            assert len(images) == len(hashes) == stored.info.counts[split] == splits.count(split)
            assert numbers is None or len(numbers) == len(hashes)
            for index, sha256 in enumerate(hashes):
                np.testing.assert_array_equal(images[index], by_hash[sha256])
                assert tuple(images.sizes_N2[index]) == by_hash[sha256].shape[:2]
            if fixed:
                order = np.random.default_rng(0).permutation(len(images))
                np.testing.assert_array_equal(images[order], images[:][order])
                np.testing.assert_array_equal(images[1:-1:2], images[:][1:-1:2])
        sizes = [path.stat().st_size for path in Path(folder).glob("data/made/shard-*")]
        assert sum(sizes) == sum(pixels.nbytes for pixels in pictures)
        largest = max(pixels.nbytes for pixels in pictures)
        assert max(sizes) <= max(shard_bytes, largest)


def test_the_manifest_says_where_every_pixel_lies(tmp_path):
    pictures = [noise(seed, 9 + seed, 20 - seed) for seed in range(8)]
    stored = stored_dataset(tmp_path, pictures)
    lines = (tmp_path / "data" / "made" / "manifest.csv").read_text().splitlines()
    assert lines[0].split(",") == list(ManifestRow._fields)
    for line in lines[1:]:
        row = ManifestRow._make(line.split(","))
        content = (tmp_path / "data" / "made" / row.shard).read_bytes()
        height, width, offset = int(row.height), int(row.width), int(row.offset)
        pixels = np.frombuffer(content, np.uint8)[offset : offset + height * width].reshape(
            height, width, 1
        )
        assert content_hash(pixels) == row.sha256
        assert float(row.mean) == pytest.approx(pixels.mean(), abs=0.01)
        assert float(row.std) == pytest.approx(pixels.std(), abs=0.01)
    in_order = [(SPLITS.index(row.split), row.sha256) for row in stored.manifest.rows()]
    assert in_order == sorted(in_order)


def test_pictures_of_their_own_size_are_not_read_as_one_array(tmp_path):
    images = stored_dataset(tmp_path, [noise(1, 20, 30), noise(2, 30, 20)], image_size=None).images(
        "train"
    )
    with pytest.raises(ValueError, match="differ in size: read them one at a time"):
        images[:2]


def test_one_image_is_a_view_of_the_map_and_read_only(tmp_path):
    image = stored_dataset(tmp_path, [noise(1, 20, 30)], image_size=None).images("train")[0]
    assert not image.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 0


def test_views_stay_valid_when_pages_are_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr("atelier.data.images.RESIDENT_BYTES", 1000)
    pictures = [noise(seed, 20, 30) for seed in range(9)]
    stored = stored_dataset(tmp_path, pictures, image_size=None)
    by_hash = {content_hash(pixels): pixels for pixels in pictures}
    images = stored.images("train")
    views = [images[index] for index in range(len(images))]
    for view, sha256 in zip(views, stored.hashes("train"), strict=True):
        np.testing.assert_array_equal(view, by_hash[sha256])


# -- versions: shards are append-only ----------------------------------------------------------


def shards_of(project):
    return {path.name: path.read_bytes() for path in (project / "data" / "made").glob("shard-*")}


def test_new_images_go_to_new_shards_and_nothing_else_is_written(tmp_path):
    first = [noise(seed) for seed in range(20)]
    before = stored_dataset(tmp_path, first)
    written = shards_of(tmp_path)
    inodes = {
        path.name: path.stat().st_ino for path in (tmp_path / "data" / "made").glob("shard-*")
    }
    after = stored_dataset(
        tmp_path, [*first, *(noise(seed) for seed in range(100, 103))], before=before
    )
    shards = shards_of(tmp_path)
    assert shards.items() > written.items()
    assert sum(map(len, shards.values())) - sum(map(len, written.values())) == 3 * 256
    assert (
        inodes.items()
        <= {path.name: path.stat().st_ino for path in (tmp_path / "data/made").iterdir()}.items()
    )
    assert pairs(after).items() > pairs(before).items()
    for index, sha256 in enumerate(after.hashes("train")):
        assert content_hash(after.images("train")[index]) == sha256


def test_the_digest_is_that_of_the_images_not_of_their_places(tmp_path):
    pictures = [noise(seed) for seed in range(20)]
    grown = stored_dataset(
        tmp_path / "a", pictures, before=stored_dataset(tmp_path / "a", pictures[:15])
    )
    at_once = stored_dataset(tmp_path / "b", pictures)
    assert grown.digest == at_once.digest
    assert shards_of(tmp_path / "a") != shards_of(tmp_path / "b")
    np.testing.assert_array_equal(grown.images("train")[:], at_once.images("train")[:])


@pytest.mark.parametrize("change", ["image", "class", "split", "class name"])
def test_the_digest_changes_with(tmp_path, change):
    pictures, labels, splits = (
        [noise(seed) for seed in range(5)],
        ["cat", "dog"] * 2 + ["cat"],
        ["train"] * 5,
    )
    before = stored_dataset(tmp_path / "a", pictures, labels, splits)
    if change == "image":
        pictures[0] = noise(99)
    elif change == "class":
        labels[0] = "dog"
    elif change == "split":
        splits[0] = "test"
    else:
        labels = [label.replace("dog", "wolf") for label in labels]
    assert stored_dataset(tmp_path / "b", pictures, labels, splits).digest != before.digest


def test_removed_images_leave_the_manifest_and_unused_shards_the_folder(tmp_path):
    pictures = [noise(seed) for seed in range(20)]
    first = stored_dataset(tmp_path, pictures[:15])
    grown = stored_dataset(tmp_path, pictures, before=first)
    assert len(shards_of(tmp_path)) == 2
    fewer = stored_dataset(tmp_path, pictures[:12], before=grown)
    assert sorted(pairs(fewer)) == sorted(map(content_hash, pictures[:12]))
    assert list(shards_of(tmp_path)) == [
        "shard-00000.bin"
    ]  # of the second shard nothing is used any more


def test_mostly_unused_shards_are_written_anew(tmp_path):
    pictures = [noise(seed) for seed in range(20)]
    before = stored_dataset(tmp_path / "a", pictures)
    few = stored_dataset(tmp_path / "a", pictures[:4], before=before)
    at_once = stored_dataset(tmp_path / "b", pictures[:4])
    assert shards_of(tmp_path / "a") == shards_of(tmp_path / "b")
    assert pairs(few) == pairs(at_once)


def test_an_older_version_is_read_wherever_its_files_lie(tmp_path):
    pictures = [noise(seed) for seed in range(5)]
    stored_dataset(tmp_path, pictures)
    elsewhere = {}
    for number, path in enumerate((tmp_path / "data" / "made").iterdir()):
        elsewhere[path.name] = path.rename(tmp_path / f"object-{number}")
    stored = open_version("made", elsewhere.__getitem__)
    assert sorted(pairs(stored)) == sorted(map(content_hash, pictures))
    assert stored.images("train").shape == (5, 16, 16, 1)


def test_format_1_is_still_read(tmp_path):
    pixels = noise(1)
    (tmp_path / "shard-00000.bin").write_bytes(pixels.tobytes())
    row = f"{content_hash(pixels)},cat/1.png,0,train,16,16,1,shard-00000.bin,0"
    header = "sha256,name,label,split,height,width,channels,shard,offset"
    (tmp_path / "manifest.csv").write_text(f"{header}\n{row}\n")
    described = {
        "format_version": 1,
        "params": {"image_size": 16, "channels": 1},
        "source_digest": "x",
        "class_names": ["cat"],
        "counts": {"train": 1, "validation": 0, "test": 0},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    stored = open_version("old", lambda file: tmp_path / file)
    np.testing.assert_array_equal(stored.images("train")[0], pixels)
    assert pairs(stored) == {content_hash(pixels): ("cat", "train")}


# -- what is wrong is named --------------------------------------------------------------------


def shorten(name, by):
    def damage(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-by])

    return damage


def relabel(folder):
    path = folder / "manifest.csv"
    path.write_text(path.read_text().replace(",0,train", ",1,train", 1))


DAMAGE = {
    "a shorter shard": shorten("shard-00000.bin", 1),
    "a shorter manifest": shorten("manifest.csv", 30),
    "a manifest that ends at a line": lambda folder: (folder / "manifest.csv").write_text("a,b\n"),
    "another label": relabel,
    "an empty description": lambda folder: (folder / "dataset.json").write_text("{}"),
    "a description that is no object": lambda folder: (folder / "dataset.json").write_text("[]"),
    "no manifest": lambda folder: (folder / "manifest.csv").unlink(),
    "a missing shard": lambda folder: (folder / "shard-00000.bin").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(tmp_path, damage):
    stored_dataset(tmp_path, [noise(seed) for seed in range(6)], ["cat", "dog"] * 3)
    damage(tmp_path / "data" / "made")
    with pytest.raises(DataError, match="data/made is damaged: .* Run `dvc checkout"):
        read_dataset(tmp_path, "made")


def test_a_newer_format_is_refused_by_number(tmp_path):
    stored_dataset(tmp_path, [noise(1)])
    path = tmp_path / "data" / "made" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 3}))
    with pytest.raises(
        DataError, match="data/made is stored in format 3; this atelier reads formats up to 2"
    ):
        read_dataset(tmp_path, "made")


def test_a_dataset_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="data/photos does not exist. Run `atelier run`"):
        read_dataset(tmp_path, "photos")
    assert not list(tmp_path.iterdir())  # a reader writes nothing


def test_an_open_dataset_survives_its_replacement(tmp_path):
    before = stored_dataset(tmp_path, [noise(seed) for seed in range(20)])
    images = before.images("train")
    expected = images[:].copy()
    stored_dataset(tmp_path, [noise(seed) for seed in range(50, 60)])
    np.testing.assert_array_equal(images[:], expected)


def test_a_shard_is_mapped_once(tmp_path):
    stored_dataset(tmp_path, [noise(1)])
    asked = []
    shards = Shards(lambda name: asked.append(name) or tmp_path / "data" / "made" / name)
    assert all(len(shards.bytes_of("shard-00000.bin")) == 256 for _ in range(3))
    assert asked == ["shard-00000.bin"]
