"""What goes through together, what is refused, and what nobody waits for any more."""

import threading

import numpy as np
import pytest

from atelier.registry import Version
from atelier.service.batches import BATCH_IMAGES, Batches, Full, Work
from atelier.service.fleet import Served
from atelier.service.measures import Measures


class Doubler:
    """A model that doubles, once it may, and remembers how many images came together."""

    def __init__(self):
        self.config = {"kind": "restoration", "network": {}}
        self.may_begin = threading.Event()
        self.has_begun = threading.Event()
        self.passes = []

    def predict(self, context, x_NCHW, settings):
        self.has_begun.set()
        self.may_begin.wait(30)
        self.passes.append(len(x_NCHW))
        if (x_NCHW < 0).any():
            raise ValueError("below 0")
        return x_NCHW * 2


@pytest.fixture
def model():
    return Doubler()


@pytest.fixture
def served(model):
    return Served("double", Version("double", 1, "run", "2026-01-01T00:00:00Z", (), {}), model)


@pytest.fixture
def batches():
    started = Batches(40, 10_000, Measures())
    started.start()
    yield started
    started.end()


def work(served, value, side=4, **settings):
    return Work(served, np.full((1, 1, side, side), value, np.float32), settings, side * side)


def block(batches, model, served):
    """Let the thread be busy, so that what comes now has to wait; returns what it works at."""
    first = batches.put(work(served, 0.0))
    assert model.has_begun.wait(30)
    return first


def test_what_waits_goes_through_together_by_size_and_settings(batches, model, served):
    block(batches, model, served)
    waiting = [work(served, i / 10) for i in range(5)]
    waiting += [work(served, 0.7, side=5), work(served, 0.8, sigma=0.1), work(served, 0.9)]
    answers = [batches.put(each) for each in waiting]
    model.may_begin.set()
    for each, answer in zip(waiting, answers, strict=True):
        assert np.array_equal(answer.result(30), each.question * 2)
    assert model.passes == [1, 6, 1, 1]


def test_no_pass_is_larger_than_it_may_be(batches, model, served):
    block(batches, model, served)
    answers = [batches.put(work(served, 0.5)) for _ in range(BATCH_IMAGES + 3)]
    model.may_begin.set()
    for answer in answers:
        answer.result(30)
    assert model.passes == [1, BATCH_IMAGES, 3]


def test_one_that_fails_does_not_spoil_the_others(batches, model, served):
    block(batches, model, served)
    good = batches.put(work(served, 0.5))
    bad = batches.put(work(served, -0.5))
    model.may_begin.set()
    assert good.result(30).max() == 1.0
    with pytest.raises(ValueError, match="below 0"):
        bad.result(30)
    assert batches.put(work(served, 0.25)).result(30).max() == 0.5


def test_nothing_is_done_for_who_went_away(batches, model, served):
    block(batches, model, served)
    gone = batches.put(work(served, 0.1, side=3))
    stays = batches.put(work(served, 0.2))
    assert gone.cancel()
    model.may_begin.set()
    stays.result(30)
    assert model.passes == [1, 1]


def test_more_than_may_wait_is_refused(batches, model, served):
    block(batches, model, served)
    answers = [batches.put(work(served, 0.1)) for _ in range(40)]
    with pytest.raises(Full, match="40 pictures of 640 pixels wait already"):
        batches.put(work(served, 0.1))
    model.may_begin.set()
    assert all(answer.result(30) is not None for answer in answers)


def test_many_pixels_are_refused_but_never_a_single_picture(batches, model, served):
    block(batches, model, served)
    alone = batches.put(work(served, 0.1, side=200))  # 40,000 pixels; 10,000 may wait
    with pytest.raises(Full, match="1 pictures of 40,000 pixels wait already"):
        batches.put(work(served, 0.1))
    model.may_begin.set()
    assert alone.result(30) is not None


def test_what_waits_is_answered_before_the_end(model, served):
    batches = Batches(40, 10_000, Measures())
    batches.start()
    block(batches, model, served)
    answers = [batches.put(work(served, 0.5)) for _ in range(3)]
    model.may_begin.set()
    batches.end()
    assert all(answer.done() for answer in answers)
    with pytest.raises(Full, match="ending"):
        batches.put(work(served, 0.5))
