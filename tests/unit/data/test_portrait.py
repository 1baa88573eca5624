import numpy as np

from atelier.data.ingest.notes import SHOWN, quarantine_sheet
from atelier.data.ingest.portrait import CELL, MARGIN, contact_sheet, histograms
from atelier.data.sources.pictures import Candidate, Rejected
from tests.support.stored import stored_dataset


def noise(seed, height=20, width=30, channels=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def test_a_contact_sheet_has_a_row_for_each_class_and_none_for_an_empty_split(tmp_path):
    labels = ["cat", "dog", "emu"] * 3
    stored = stored_dataset(tmp_path, [noise(seed) for seed in range(9)], labels, image_size=None)
    picture = contact_sheet(stored, "train")
    assert picture.shape[1] == 3 * (CELL + MARGIN) + MARGIN  # three pictures a class
    assert picture.shape[0] // CELL == 3
    assert contact_sheet(stored, "test") is None


def test_a_contact_sheet_has_a_row_of_pictures_outside_of_every_class(tmp_path):
    stored = stored_dataset(
        tmp_path, [noise(seed) for seed in range(5)], ["cat", "cat", "", "", ""], image_size=None
    )
    picture = contact_sheet(stored, "train")
    assert picture.shape[1] == 3 * (CELL + MARGIN) + MARGIN
    assert picture.shape[0] // CELL == 2
    kept_back = stored_dataset(
        tmp_path / "b",
        [noise(seed) for seed in range(3)],
        ["cat", "", ""],
        ["train", "test", "test"],
        image_size=None,
    )
    assert contact_sheet(kept_back, "test").shape[0] // CELL == 1


def test_a_class_name_is_drawn_as_it_is_and_no_formula(tmp_path):
    stored = stored_dataset(
        tmp_path, [noise(seed) for seed in range(2)], ["$\\frac$", "a$_$b"], image_size=None
    )
    assert histograms(stored).std() > 10


def test_histograms_are_drawn_of_pictures_of_any_size(tmp_path):
    stored = stored_dataset(
        tmp_path, [noise(seed, 20 + seed) for seed in range(5)], image_size=None
    )
    picture = histograms(stored)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert picture.std() > 10


def test_of_a_large_quarantine_only_what_is_shown_is_read():
    read = []

    def pixels(candidate):
        read.append(candidate.name)
        return noise(len(read), channels=3)

    names = [f"{number:03d}.png" for number in range(100)]
    candidates = {
        name: Candidate(name, 0, "", "", name, 20, 30, 3, 0, 0, 0.0, 0.0) for name in names
    }
    quarantined = [Rejected(name, "exact duplicate", "of another") for name in names]
    broken = [Rejected("broken.png", "empty")]
    picture = quarantine_sheet(quarantined + broken, candidates, pixels)
    assert read == names[:SHOWN]
    assert picture.shape[1] == SHOWN * (CELL + MARGIN) + MARGIN
    assert quarantine_sheet([], candidates, pixels) is None
