import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.splits import split_of

hashes = st.binary(min_size=0, max_size=8).map(lambda content: hashlib.sha256(content).hexdigest())
fractions = st.floats(0, 0.99)


@given(hashes, fractions, fractions)
def test_only_the_first_sixteen_digits_decide(sha256, test, validation):
    assert split_of(sha256, test, validation) == split_of(sha256[:16] + "0" * 48, test, validation)


@given(hashes, fractions, fractions, fractions)
def test_a_larger_test_fraction_never_takes_an_image_out_of_test(sha256, small, large, validation):
    small, large = sorted((small, large))
    if split_of(sha256, small, validation) == "test":
        assert split_of(sha256, large, validation) == "test"


@given(hashes, fractions)
def test_a_fraction_of_zero_means_none(sha256, fraction):
    assert split_of(sha256, 0.0, fraction) != "test"
    assert split_of(sha256, fraction, 0.0) != "validation"


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("0" * 16, "test"),
        ("2" + "0" * 15, "validation"),
        ("8" + "0" * 15, "train"),
        ("f" * 16, "train"),
    ],
)
def test_the_split_of_a_known_hash_never_changes(digits, expected):
    assert split_of(digits + "0" * 48, 0.1, 0.2) == expected


def test_shares_are_those_asked_for():
    splits = [
        split_of(hashlib.sha256(str(number).encode()).hexdigest(), 0.1, 0.05)
        for number in range(20_000)
    ]
    assert splits.count("test") / len(splits) == pytest.approx(0.1, abs=0.01)
    assert splits.count("validation") / len(splits) == pytest.approx(
        0.045, abs=0.01
    )  # 5 % of the 90 % that are not test
