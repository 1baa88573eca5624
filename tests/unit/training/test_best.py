"""The best validation of a training, and the way back to it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from atelier.params import Training
from atelier.training.best import Best
from atelier.training.checkpoint import Checkpoints
from atelier.training.course import Course
from atelier.training.interruption import Stopped
from atelier.training.session import Session
from tests.support.tiny import ignore

CPU = torch.device("cpu")


def linear(weight):
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(weight)
    return network


def around(mean):
    """Scores of 64 images with this mean; their differences to others of these are constant."""
    return torch.linspace(-3, 3, 64) + mean


def taken(means):
    """What is said of validations with these means, one after another."""
    best = Best({"average": linear(1.0)})
    return [best.take(around(mean), "psnr", 1000 * place) for place, mean in enumerate(means)]


@pytest.mark.parametrize(
    ("means", "runs_away"),
    [
        ([20, 25, 28, 29], False),
        ([20, 29.4, 29.3, 29.2, 29.1], False),  # within a twentieth of what was gained
        ([20, 29.4, 28.5], False),  # once
        ([20, 29.4, 28.5, 29.3, 28.5], False),  # never twice in a row
        ([20, 29.4, 28.5, 27.9], True),
        ([20, 19, 18], True),  # nothing was gained, and it gets worse
    ],
)
def test_a_training_has_run_away_if_it_stays_below_its_best(means, runs_away):
    *before, last = taken(means)
    assert (any(before), last) == (False, runs_away)


def test_a_difference_within_the_noise_of_images_is_no_fall():
    rng = torch.Generator().manual_seed(0)
    best = Best({"average": linear(1.0)})
    best.take(torch.zeros(16), "accuracy", 0)
    best.take(0.5 + torch.randn(16, generator=rng), "accuracy", 1)
    falls = [best.take(torch.randn(16, generator=rng) + 0.2, "accuracy", 2) for _ in range(4)]
    assert not any(falls)


def test_weights_go_back_to_the_best_validation():
    average = linear(1.0)
    best = Best({"average": average})
    best.take(around(20), "psnr", 0)
    average.weight.data.fill_(2.0)
    best.take(around(29), "psnr", 1000)
    average.weight.data.fill_(3.0)
    best.take(around(25), "psnr", 2000)
    assert best.is_better_than_last()
    best.put_back("average")
    assert average.weight.item() == 2.0
    average.weight.data.fill_(4.0)  # what is kept is a copy
    best.put_back()
    assert average.weight.item() == 2.0
    assert best.choice() == (
        "taken are the weights after 1.0 kimg: psnr was 29 there, 25 at the end"
    )


@given(means=st.lists(st.floats(0, 40), min_size=1, max_size=8), cut=st.integers(0, 8))
def test_resumed_from_its_state_it_says_the_same(means, cut):
    whole = taken(means)
    best = Best({"average": linear(1.0)})
    parts = []
    for place, mean in enumerate(means):
        if place == cut:
            state = best.state_dict()
            best = Best({"average": linear(5.0)})
            best.load_state_dict(state)
        parts.append(best.take(around(mean), "psnr", 1000 * place))
    assert parts == whole


class Setting:
    """A training whose weight is set by hand at each step, and validated there."""

    def __init__(self, folder, num_steps, stop_at=None):
        self.notes = []
        self.rates = []
        self.at = 0
        self.average = linear(0.0)
        session = Session(
            CPU,
            seed=0,
            checkpoints=Checkpoints(folder, "f"),
            on_log=lambda seen, values: self.rates.append(values["lr"]),
            on_sample=ignore,
            on_note=lambda seen, note: self.notes.append(note),
            stop_requested=lambda: self.at == stop_at,
        )
        training = Training(kimg=num_steps, batch_size=1000, lr=1.0, checkpoint_every_kimg=1)
        self.course = Course(session, training, {"average": self.average}, torch.Generator())
        self.course.open()

    def run(self, means):
        def one_step(at):
            self.at = at.after
            mean = means[at.before // 1000]
            self.average.weight.data.fill_(mean)
            self.course.validate("validation/psnr", around(mean))

        self.course.run(one_step)


def test_a_training_that_falls_goes_back_and_on_at_half_the_rate(tmp_path):
    means = [20, 29, 25, 24, 28, 28.9]
    setting = Setting(tmp_path, len(means))
    setting.run(means)
    assert setting.notes == [
        "validation/psnr fell from 29 to 24: back to the weights after 2.0 kimg, "
        "on at 0.5 times the learning rate",
        "taken are the weights after 2.0 kimg: validation/psnr was 29 there, 28.9 at the end",
    ]
    assert setting.average.weight.item() == 29
    cosine = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert setting.rates == pytest.approx(cosine[:4] + [0.5 * rate for rate in cosine[4:]])


def test_the_last_weights_are_taken_where_they_are_best(tmp_path):
    setting = Setting(tmp_path, 3)
    setting.run([20, 25, 29])
    assert (setting.notes, setting.average.weight.item()) == ([], 29)


def test_a_training_without_validations_keeps_its_last_weights(tmp_path):
    setting = Setting(tmp_path, 2)
    setting.course.run(lambda at: setting.average.weight.data.fill_(at.after))
    assert (setting.notes, setting.average.weight.item()) == ([], 2000)


def test_a_resumed_training_remembers_its_best(tmp_path):
    means = [20, 29, 28.5, 24, 23, 28]
    stopped = Setting(tmp_path, len(means), stop_at=3000)
    with pytest.raises(Stopped):
        stopped.run(means)
    resumed = Setting(tmp_path, len(means))
    resumed.run(means)
    assert [note.split(":")[0] for note in resumed.notes] == [
        "validation/psnr fell from 29 to 24",
        "taken are the weights after 2.0 kimg",
    ]
    assert resumed.average.weight.item() == 29
