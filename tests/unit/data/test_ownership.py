"""An ingest replaces what Atelier wrote, and nothing else."""

import shutil

import pytest

from atelier.data.ingest import stages
from atelier.errors import DataError
from atelier.params import Source
from tests.support.noise_pictures import PHOTOS, fill, versioned
from tests.support.stored import ingest_all_stages


def everything(folder):
    """Each file below a folder, and what it holds."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def reading_from(path):
    return PHOTOS.model_copy(update={"sources": (Source(source="folder", path=path),)})


def refused(project, dataset, message):
    before = everything(project)
    with pytest.raises(DataError, match=message):
        ingest_all_stages(project, "photos", dataset)
    assert everything(project) == before


@pytest.mark.parametrize("path", ["data/photos", "data/others", "raw/../data/photos", "linked"])
def test_originals_inside_data_are_refused_and_stay(tmp_path, path):
    (tmp_path / "raw").mkdir()
    for folder in ("photos", "others"):
        fill(tmp_path / "data" / folder)
    (tmp_path / "linked").symlink_to("data/photos")
    refused(
        tmp_path,
        reading_from(path),
        f"datasets.photos: the source '{path}' lies in data/.*such as raw/",
    )


@pytest.mark.parametrize("path", [".", "..", "data/.."])
def test_a_source_that_has_data_inside_is_refused(tmp_path, path):
    project = tmp_path / "project"
    fill(project)
    (project / "data").mkdir()
    refused(project, reading_from(path), "has data/ inside")


@pytest.mark.parametrize(
    "name", ["notes.txt", "cat/1.png", "dataset.json/x", ".hidden", "shard-1.bin"]
)
def test_what_somebody_put_beside_a_stored_dataset_is_never_replaced(tmp_path, name):
    fill(tmp_path / "raw")
    ingest_all_stages(tmp_path, "photos", PHOTOS)
    stored = tmp_path / "data" / "photos"
    if name.startswith("dataset.json"):
        (stored / "dataset.json").unlink()
    (stored / name).parent.mkdir(exist_ok=True)
    (stored / name).write_text("an afternoon's work")
    fill(tmp_path / "raw", range(100, 110))
    refused(tmp_path, PHOTOS, f"'{name.split('/')[0]}' .1 in all..*Move it out of data/")
    shutil.move(stored / name.split("/")[0], tmp_path)
    assert ingest_all_stages(tmp_path, "photos", PHOTOS).changed


def test_what_looking_at_a_folder_leaves_there_stops_nothing(tmp_path):
    fill(tmp_path / "raw")
    ingest_all_stages(tmp_path, "photos", PHOTOS)
    (tmp_path / "data" / "photos" / ".DS_Store").write_bytes(bytes(8))
    fill(tmp_path / "raw", range(100, 110))
    assert ingest_all_stages(tmp_path, "photos", PHOTOS).changed


def test_what_came_while_pictures_were_read_is_not_replaced_either(tmp_path):
    fill(tmp_path / "raw")
    ingest_all_stages(tmp_path, "photos", PHOTOS)
    fill(tmp_path / "raw", range(100, 110))
    folder = stages.read(tmp_path, "photos", PHOTOS)
    findings = stages.validate(tmp_path, "photos", PHOTOS, folder)
    before = versioned(tmp_path)
    (tmp_path / "data" / "photos" / "labels.csv").write_text("name,label\n")
    with pytest.raises(DataError, match="'labels.csv' .1 in all"):
        stages.store(tmp_path, "photos", PHOTOS, folder, findings)
    (tmp_path / "data" / "photos" / "labels.csv").unlink()
    assert versioned(tmp_path) == before
