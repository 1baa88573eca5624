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
    best = Best()
    return [take(best, mean, 1000 * place) for place, mean in enumerate(means)]


def take(best, mean, images_seen):
    """A validation of a network whose weight is its score."""
    return best.take(linear(mean), around(mean), "psnr", images_seen)


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
    best = Best()
    falls = []
    for place, mean in enumerate((0.0, 0.5, 0.2, 0.2, 0.2)):
        values_N = mean + torch.randn(16, generator=rng)
        falls.append(best.take(linear(mean), values_N, "accuracy", place))
    assert not any(falls)
    assert not best.is_last_worse  # the last weights are taken: the rate has fallen by then


def test_it_keeps_a_copy_of_the_best_weights():
    best = Best()
    average = linear(29)
    best.take(average, around(29), "psnr", 1000)
    assert not best.is_last_worse
    average.weight.data.fill_(25)
    best.take(average, around(25), "psnr", 2000)
    assert best.is_last_worse
    assert (best.images_seen, best.weights["weight"].item()) == (1000, 29)
    assert best.choice() == (
        "taken are the weights after 1.0 kimg: psnr was 29 there, 25 at the end"
    )


@given(means=st.lists(st.floats(0, 40), min_size=1, max_size=8), cut=st.integers(0, 8))
def test_resumed_from_its_state_it_says_the_same(means, cut):
    whole = taken(means)
    best = Best()
    parts = []
    for place, mean in enumerate(means):
        if place == cut:
            state = best.state_dict()
            best = Best()
            best.load_state_dict(state)
        parts.append(take(best, mean, 1000 * place))
    assert parts == whole


class Setting:
    """A training whose weight is set by hand at each step, and validated there.

    `seen` is what each step begins with: the network's weight, and how many moments Adam has.
    """

    def __init__(self, folder, num_steps, stop_at=None):
        self.notes = []
        self.seen = []
        self.rates = []
        self.at = 0
        self.network = linear(0.0)
        self.average = linear(0.0)
        self.optimizer = torch.optim.Adam(self.network.parameters())
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
        parts = {"network": self.network, "average": self.average, "optimizer": self.optimizer}
        self.course = Course(session, training, parts, torch.Generator())
        self.course.open()

    def run(self, means):
        def one_step(at):
            self.at = at.after
            mean = means[at.before // 1000]
            self.seen.append((self.network.weight.item(), len(self.optimizer.state)))
            for network in (self.network, self.average):
                network.weight.data.fill_(mean)
            self.optimizer.state[self.network.weight]["step"] = torch.tensor(1.0)
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
    assert setting.seen == [(0, 0), (20, 1), (29, 1), (25, 1), (29, 0), (28, 1)]
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
