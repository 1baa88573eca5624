import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.ingest.validation import validate
from atelier.data.splits import SPLITS, split_of
from atelier.params import Dataset, Source
from tests.support.picture_copies import NEAR, Folder, compressed, messy_folder, photographs

TRAIN_ONLY = Dataset(
    sources=(Source(source="folder", path="raw"),),
    channels=3,
    test_fraction=0.0,
    validation_fraction=0.0,
)
MIXED = TRAIN_ONLY.model_copy(update={"test_fraction": 0.3, "validation_fraction": 0.3})
NO_MEANS = np.empty(0)


def run(folder, dataset=TRAIN_ONLY, splits=None, candidates=None, means=NO_MEANS):
    return validate(
        folder.candidates if candidates is None else candidates,
        splits or {},
        dataset,
        folder.pixels,
        means,
    )


def found(result):
    return Counter(item.reason for item in result.quarantined)


def kept(result):
    return {
        item.candidate.sha256: (item.split, item.candidate.class_name) for item in result.accepted
    }


def pair(split="", other_split="", copy=compressed):
    folder, patch = Folder(), photographs()[0]
    folder.add(patch, "original", split=split)
    folder.add(copy(patch), "copy", split=other_split)
    return folder


def test_every_planted_defect_is_found_with_its_reason_and_all_else_is_kept():
    folder, expected = messy_folder()
    result = run(folder)
    assert found(result) == expected
    assert len(result.accepted) == 60 - 5
    assert len(result.accepted) + len(result.quarantined) == len(folder.candidates)


@given(seed=st.integers(0, 2**32), dataset=st.sampled_from([TRAIN_ONLY, MIXED]))
def test_order_and_names_change_nothing(seed, dataset):
    folder, _ = messy_folder()
    expected = run(folder, dataset)
    shuffled = random.Random(seed).sample(folder.candidates, len(folder.candidates))
    renamed = [item._replace(name=f"{number}.jpg") for number, item in enumerate(shuffled)]
    result = run(folder, dataset, candidates=renamed)
    assert kept(result) == kept(expected)
    assert found(result) == found(expected)
    assert [item.candidate.sha256 for item in result.accepted] == [
        item.candidate.sha256 for item in expected.accepted
    ]


@given(seed=st.integers(0, 2**32), share=st.floats(0.1, 0.9))
def test_an_image_that_is_stored_keeps_its_split_and_its_place_when_more_come(seed, share):
    folder, _ = messy_folder()
    # An image under two labels is taken out whenever the second comes: it is a defect of what is
    # stored.
    clean = [item for item in folder.candidates if item.name < "0074"]
    first = run(
        folder, MIXED, candidates=random.Random(seed).sample(clean, round(share * len(clean)))
    )
    stored = {sha256: split for sha256, (split, _) in kept(first).items()}
    grown = kept(run(folder, MIXED, splits=stored, candidates=clean))
    assert {sha256: grown[sha256][0] for sha256 in stored} == stored


def test_what_is_accepted_comes_by_split_and_content_hash():
    accepted = run(messy_folder()[0], MIXED).accepted
    assert accepted == sorted(
        accepted, key=lambda item: (SPLITS.index(item.split), item.candidate.sha256)
    )
    assert {item.split for item in accepted} == set(SPLITS)


def test_no_picture_and_its_copy_lie_in_two_splits_even_where_near_duplicates_are_kept():
    folder = Folder()
    for patch in photographs()[:40]:
        folder.add(patch)
        folder.add(compressed(patch))
    result = run(folder, MIXED.model_copy(update={"near_duplicates": "keep"}))
    split_of_picture = {}
    for item in result.accepted:
        assert split_of_picture.setdefault(item.candidate.position // 2, item.split) == item.split
    assert len(split_of_picture) == 40
    assert set(found(result)) == {"near duplicate across splits"}


@pytest.mark.parametrize("copy", NEAR)
def test_a_near_duplicate_is_quarantined_or_kept_as_asked(copy):
    folder = pair(copy=copy)
    result = run(folder)
    assert found(result) == {"near duplicate": 1}
    assert result.quarantined[0].detail == f"of {result.accepted[0].candidate.name} in train"
    assert len(run(folder, TRAIN_ONLY.model_copy(update={"near_duplicates": "keep"})).accepted) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [("train", "test"), ("test", "train"), ("validation", "train"), ("test", "validation")],
)
def test_of_near_duplicates_across_splits_test_is_kept_before_validation_before_train(
    first, second
):
    result = run(pair(first, second))
    foremost = min(first, second, key=("test", "validation", "train").index)
    assert [item.split for item in result.accepted] == [foremost]
    assert found(result) == {"near duplicate across splits": 1}
    assert result.quarantined[0].detail.endswith(f"in {foremost}")


def test_a_published_test_set_stays_whole():
    assert [item.split for item in run(pair("test", "test")).accepted] == ["test", "test"]


def test_a_stored_picture_stays_whatever_a_new_one_in_a_better_split_looks_like():
    folder = pair("train", "test")
    result = run(folder, splits={folder.candidates[0].sha256: "train"})
    assert [item.candidate.name for item in result.accepted] == ["original"]
    assert result.quarantined[0].detail == "of original in train"


def test_of_two_stored_pictures_that_resemble_each_other_the_test_side_stays():
    folder = pair("train", "test")
    first, second = (candidate.sha256 for candidate in folder.candidates)
    result = run(folder, splits={first: "train", second: "test"})
    assert [(item.candidate.sha256, item.split) for item in result.accepted] == [(second, "test")]
    assert found(result) == {"near duplicate across splits": 1}


def test_a_version_that_is_validated_again_stays_as_it_is():
    folder, _ = messy_folder()
    first = run(folder)
    stored = {item.candidate.sha256: item.split for item in first.accepted}
    again = run(folder, splits=stored)
    assert again.accepted == first.accepted
    assert found(again) == found(first)


def test_the_same_picture_in_train_and_test_stays_in_test_with_the_label_it_has_anywhere():
    folder, patch = Folder(), photographs()[1]
    folder.add(patch, "a", class_name="cat", split="train")
    folder.add(patch, "b", split="test")
    result = run(folder)
    assert kept(result) == {folder.candidates[0].sha256: ("test", "cat")}
    assert [(item.name, item.reason, item.detail) for item in result.quarantined] == [
        ("b", "exact duplicate", "of a")
    ]


def test_a_picture_under_two_labels_is_not_kept_at_all_and_the_classes_are_named():
    folder, patch = Folder(), photographs()[1]
    for name, class_name in (("a", "cat"), ("b", "dog"), ("c", "")):
        folder.add(patch, name, class_name)
    result = run(folder, splits={folder.candidates[0].sha256: "train"})
    assert result.accepted == []
    assert found(result) == {"two labels": 3}
    assert {item.detail for item in result.quarantined} == {"cat and dog"}


@pytest.mark.parametrize(
    ("own", "test_fraction", "validation_fraction"),
    [
        ([""], 0.3, 0.3),
        (["train", "test"], 0.0, 0.3),
        (["train", "validation"], 0.3, 0.0),
        (list(SPLITS), 0.0, 0.0),
    ],
)
def test_what_no_source_sets_apart_is_set_apart_by_the_content_hash(
    own, test_fraction, validation_fraction
):
    folder = Folder()
    for number, patch in enumerate(photographs()[:60]):
        folder.add(patch, split=own[number % len(own)])
    for item in run(folder, MIXED).accepted:
        by_hash = split_of(item.candidate.sha256, test_fraction, validation_fraction)
        assert item.split == (
            item.candidate.split if item.candidate.split in SPLITS[1:] else by_hash
        )


def test_ten_thousand_nearly_black_pictures_are_all_kept_and_cost_nothing():
    folder = Folder()
    for number in range(10_000):
        black = np.zeros((16, 16, 1), np.uint8)
        black.flat[number % 256], black.flat[number // 256] = 1, 2
        folder.add(black)

    def pixels(candidate):
        raise AssertionError("nothing of it need be read")

    result = validate(folder.candidates, {}, TRAIN_ONLY, pixels, NO_MEANS)
    assert len(result.accepted) == len({item.sha256 for item in folder.candidates})
    assert result.warnings == [
        "10,000 pictures are of one colour, as good as: 0000.png, 0001.png, 0002.png and 9,997 more"
    ]


def test_classes_that_are_unbalanced_or_lack_training_pictures_are_named():
    folder = Folder()
    for number, patch in enumerate(photographs()[:24]):
        folder.add(
            patch, class_name="cat" if number else "dog", split="test" if number >= 22 else "train"
        )
    folder.add(photographs()[30], class_name="eel", split="test")
    assert run(folder).warnings == [
        "1 classes have test pictures but none to train on: eel (1)",
        "unbalanced classes in train: 21 pictures of cat, 1 of dog",
    ]


def test_new_pictures_of_another_brightness_are_noticed_and_usual_ones_are_not():
    folder = Folder()
    for patch in photographs()[:40]:
        folder.add(patch)
    means = np.array([item.mean for item in folder.candidates])
    assert run(folder, means=means).warnings == []
    (warning,) = run(folder, means=means / 3).warnings
    assert (
        f"the 40 new pictures have a mean brightness of {means.mean():.1f}, the stored ones "
        f"{means.mean() / 3:.1f}" in warning
    )
    stored = dict.fromkeys((item.sha256 for item in folder.candidates), "train")
    assert run(folder, splits=stored, means=means / 3).warnings == []  # none of them is new


def test_a_brightness_of_few_pictures_or_a_little_shift_is_no_drift():
    folder = Folder()
    folder.add(photographs()[0])
    assert run(folder, means=np.random.default_rng(0).normal(90, 40, 1000)).warnings == []
    rng, patch = np.random.default_rng(1), photographs()[0]
    for _ in range(200):
        folder.add((patch * rng.uniform(0.2, 1)).astype(np.uint8))
    means = np.array([item.mean for item in folder.candidates])
    assert run(folder, means=means + means.std() / 3).warnings == []
