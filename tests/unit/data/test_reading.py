import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.data.ingest import reading
from atelier.data.sources.pictures import Candidate


@pytest.mark.parametrize("seconds", [0.0, 0.005])
def test_results_come_in_the_order_of_the_items_on_threads_and_off(seconds):
    def slow(item):
        time.sleep(seconds * (1 + item % 3))
        return -item

    with ThreadPoolExecutor(4) as pool:
        assert list(reading._in_order(pool, slow, range(60))) == [-item for item in range(60)]


def test_few_items_are_taken_before_they_are_needed(monkeypatch):
    monkeypatch.setattr(reading, "WORTH_A_THREAD", 0.0)
    monkeypatch.setattr(reading, "num_cores", lambda: 2)
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(2) as pool:
        for number, item in enumerate(reading._in_order(pool, lambda item: item, items())):
            assert item == number
            assert len(taken) - number <= 2 * reading.WINDOW + 1


def test_an_error_in_a_thread_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(reading, "WORTH_A_THREAD", 0.0)
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        list(reading._in_order(pool, lambda item: 1 // item, range(20)))


@given(
    seed=st.integers(0, 2**32),
    height=st.integers(1, 30),
    channels=st.sampled_from([1, 3]),
    low=st.integers(0, 255),
)
def test_statistics_are_those_of_numpy(seed, height, channels, low):
    pixels = np.random.default_rng(seed).integers(low, 256, (height, 21, channels), np.uint8)
    mean, std = reading.picture_statistics(pixels)
    assert mean == pytest.approx(pixels.mean(), abs=0.0051)
    assert std == pytest.approx(pixels.std(), abs=0.0051)


def test_statistics_of_large_pictures_are_counted_in_blocks(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    expected = reading.picture_statistics(pixels)
    monkeypatch.setattr(reading, "BLOCK", 1000)
    assert reading.picture_statistics(pixels) == expected


def test_classes_are_ordered_by_the_source_then_by_number_or_name():
    def found(*names):
        blank = Candidate("", 0, "", "", "", 1, 1, 1, 0, 0, 0.0, 0.0)
        return [blank._replace(class_name=name) for name in names]

    assert reading._class_names([], found("dog", "", "cat")) == ("cat", "dog")
    assert reading._class_names([()], found("10", "9", "1")) == ("1", "9", "10")
    assert reading._class_names([("zebra", "ant")], found("ant", "bee")) == ("zebra", "ant", "bee")
    assert reading._class_names([], found("")) == ()
