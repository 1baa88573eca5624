"""What is seen of somebody's pictures, and what is proposed for them."""

import json
import zipfile

import numpy as np
import pytest
import skimage.data
from PIL import Image

from atelier.errors import UsageError
from atelier.init.recipes import dataset_name, in_words, propose
from atelier.init.survey import survey
from atelier.params import load_params

ASTRONAUT = skimage.data.astronaut()


def write(path, pixels_HWC):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels_HWC).save(path)


def photographs(folder, count, side=120):
    for number in range(count):
        top = 7 * number % 300
        write(folder / f"{number:03d}.png", ASTRONAUT[top : top + side, 40 : 40 + side + 30])


def clothes(folder, classes, count, side=28):
    rng = np.random.default_rng(0)
    for name in classes:
        for number in range(count):
            pixels_HW = rng.integers(0, 256, (side, side), np.uint8)
            write(folder / name / f"{number:03d}.png", pixels_HW)


def load(tmp_path, proposal):
    (tmp_path / "params.yaml").write_text(proposal.text)
    return load_params(tmp_path / "params.yaml")


def test_photographs_get_a_denoiser_and_an_enlarger_of_their_own_sizes(tmp_path):
    photographs(tmp_path / "photos", 24)
    seen = survey(tmp_path, tmp_path / "photos")
    assert (seen.pictures, seen.shortest, seen.longest, seen.grey) == (24, 120, 150, False)
    assert in_words(seen) == "24 pictures in colour, sides of 120 to 150 pixels; no classes"
    params = load(tmp_path, propose(seen))
    assert list(params.models) == ["photos-denoise", "photos-enlarge"]
    dataset = params.datasets["photos"]
    assert (dataset.image_size, dataset.channels, dataset.test_fraction) == (None, 3, 0.2)
    assert params.models["photos-denoise"].training.augment.quarter_turns


def test_few_pictures_fill_small_batches(tmp_path):
    photographs(tmp_path / "photos", 14)
    params = load(tmp_path, propose(survey(tmp_path, tmp_path / "photos")))
    # Seven or so of them are for training, whatever split their content gives them.
    assert params.models["photos-denoise"].training.batch_size == 4


def test_classes_get_a_classifier_and_a_gan_that_it_scores(tmp_path):
    clothes(tmp_path / "raw" / "clothes", ["Bag", "Shirt"], 240)
    seen = survey(tmp_path, tmp_path / "raw" / "clothes")
    assert (seen.path, seen.classes, seen.grey) == ("raw/clothes", {"Bag": 240, "Shirt": 240}, True)
    params = load(tmp_path, propose(seen))
    assert list(params.models) == ["clothes-classifier", "clothes-gan"]
    assert params.datasets["clothes"].image_size == 28
    assert params.evaluation.features == "classifier:clothes-classifier"
    # Few pictures: what the discriminator sees is changed.
    assert params.models["clothes-gan"].discriminator_augment is not None
    assert params.models["clothes-gan"].training.augment.flip


def test_a_gan_of_many_pictures_is_shown_none_mirrored(tmp_path):
    clothes(tmp_path / "clothes", ["Bag", "Shirt"], 500)
    params = load(tmp_path, propose(survey(tmp_path, tmp_path / "clothes")))
    gan = params.models["clothes-gan"]
    assert gan.discriminator_augment is None
    assert not gan.training.augment.flip
    assert gan.training.batch_size == 64
    assert params.models["clothes-classifier"].training.augment.flip


def test_few_pictures_of_a_class_get_no_gan(tmp_path):
    clothes(tmp_path / "clothes", ["Bag", "Shirt"], 30)
    assert list(propose(survey(tmp_path, tmp_path / "clothes")).models) == ["clothes-classifier"]


def test_small_pictures_without_classes_get_a_denoiser_and_an_inpainter(tmp_path):
    clothes(tmp_path, ["tiles"], 40, side=32)
    seen = survey(tmp_path, tmp_path / "tiles")
    params = load(tmp_path, propose(seen))
    assert list(params.models) == ["tiles-denoise", "tiles-inpaint"]
    assert params.datasets["tiles"].image_size == 32


def test_a_test_folder_is_kept_as_the_split_that_it_is(tmp_path):
    photographs(tmp_path / "photos" / "train", 12)
    photographs(tmp_path / "photos" / "test", 4, side=128)
    seen = survey(tmp_path, tmp_path / "photos")
    assert seen.splits == {"train": 12, "test": 4}
    assert "test_fraction" not in propose(seen).text


def test_an_archive_is_looked_into(tmp_path):
    photographs(tmp_path / "photos", 8)
    with zipfile.ZipFile(tmp_path / "My photos.ZIP", "w") as archive:
        for path in sorted((tmp_path / "photos").iterdir()):
            archive.write(path, path.name)
    seen = survey(tmp_path, tmp_path / "My photos.ZIP")
    assert (seen.source, seen.pictures) == ("archive", 8)
    params = load(tmp_path, propose(seen))
    assert params.datasets["my-photos"].sources[0].path == "My photos.ZIP"


def test_pictures_elsewhere_are_named_by_their_whole_path(tmp_path):
    photographs(tmp_path / "elsewhere", 4)
    seen = survey(tmp_path / "project", tmp_path / "elsewhere")
    assert seen.path == str(tmp_path / "elsewhere")


def test_what_can_not_be_read_is_counted(tmp_path):
    photographs(tmp_path / "photos", 6)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    seen = survey(tmp_path, tmp_path / "photos")
    assert (seen.looked_at, seen.unusable) == (6, 1)
    assert load(tmp_path, propose(seen)).datasets["photos"].max_quarantined == 0.5


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("gone", "does not exist"),
        ("empty", "holds no picture that can be read"),
        ("notes.txt", "neither a folder nor an archive"),
    ],
)
def test_a_place_without_pictures_is_refused(tmp_path, place, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UsageError, match=message):
        survey(tmp_path, tmp_path / place)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("raw/Meine Bilder", "meine-bilder"),
        ("a/b.tar.gz", "b"),
        ("/x/ÄÖ", "pictures"),
        ("raw/2024_", "2024"),
        ("C\\photos\\", "photos"),
    ],
)
def test_a_dataset_is_named_after_its_place(path, name):
    assert dataset_name(path) == name


@pytest.mark.parametrize("path", ["a: b", 'quo"te', "back\\slash", "# no comment", "über", "{a}"])
def test_any_name_of_a_folder_stands_in_the_file(tmp_path, path):
    photographs(tmp_path / path, 4)
    seen = survey(tmp_path, tmp_path / path)
    (dataset,) = load(tmp_path, propose(seen)).datasets.values()
    assert dataset.sources[0].path == path


def test_a_survey_is_plain_json(tmp_path):
    photographs(tmp_path / "photos", 3)
    assert json.loads(json.dumps(survey(tmp_path, tmp_path / "photos").as_json()))["pictures"] == 3
