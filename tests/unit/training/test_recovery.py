"""What checkpoints hold, and the way back to the last one."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from atelier.errors import TrainingError
from atelier.params import Training
from atelier.training.budget import Budget
from atelier.training.checkpoint import Checkpoints
from atelier.training.clock import Clock
from atelier.training.recovery import MAX_ROLLBACKS, NotFinite, Recovery

KEYS = [
    "network",
    "rng",
    "images_seen",
    "total_images",
    "rate_scale",
    "num_rollbacks",
    "seconds",
    "fingerprint",
]


def setting_in(folder):
    """A training of one weight, as `Recovery` sees it; opened."""
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    setting = SimpleNamespace(
        network=network,
        rng=torch.Generator().manual_seed(3),
        budget=Budget(Training(kimg=1.0, batch_size=50, lr=0.1)),
        clock=Clock(torch.device("cpu")),
        checkpoints=Checkpoints(folder, "f"),
    )
    setting.recovery = Recovery(
        setting.checkpoints, {"network": network}, setting.rng, setting.budget, setting.clock
    )
    setting.recovery.open()
    return setting


def advance(setting, steps):
    """As trainings do: the position, the weights and the random numbers change."""
    for _ in range(steps):
        setting.budget.advance()
        setting.network.weight.data.add_(torch.rand((), generator=setting.rng))


def test_a_first_checkpoint_is_written_on_opening_with_these_keys(tmp_path):
    setting = setting_in(tmp_path)
    state = setting.checkpoints.load()
    assert list(state) == KEYS  # what older checkpoints have as well
    assert (state["images_seen"], state["total_images"]) == (0, 1000)
    assert (state["rate_scale"], state["num_rollbacks"]) == (1.0, 0)


def test_all_is_put_back_as_it_was_saved(tmp_path):
    setting = setting_in(tmp_path)
    advance(setting, 3)
    setting.recovery.save()
    weight = setting.network.weight.item()
    next_number = torch.rand((), generator=setting.rng)
    other = setting_in(tmp_path)
    assert other.network.weight.item() == weight
    assert torch.rand((), generator=other.rng) == next_number
    assert other.budget.position.after == 150
    assert other.recovery.rate_scale == 1.0


def test_the_way_back_halves_the_rate_and_is_not_forgotten(tmp_path):
    setting = setting_in(tmp_path)
    advance(setting, 4)
    setting.recovery.save()
    weight = setting.network.weight.item()
    advance(setting, 3)
    note = setting.recovery.roll_back("the loss became nan")
    assert note == (
        "the loss became nan after 0.3 kimg: back to 0.2 kimg, on at 0.5 times the learning rate"
    )
    assert setting.network.weight.item() == weight
    assert setting.budget.position.after == 200
    killed_there = setting_in(tmp_path)
    assert killed_there.recovery.rate_scale == setting.recovery.rate_scale == 0.5
    assert killed_there.checkpoints.load()["num_rollbacks"] == 1


def test_time_goes_on_over_the_way_back_and_a_resume(tmp_path):
    setting = setting_in(tmp_path)
    setting.clock.restart(100.0)
    setting.recovery.save()
    setting.clock.restart(130.0)  # what failed took thirty seconds
    setting.recovery.roll_back("the loss became nan")
    assert 130 <= setting.clock.seconds() < 135
    assert 130 <= setting_in(tmp_path).clock.seconds() < 135


def test_the_way_back_is_gone_so_many_times_and_no_more(tmp_path):
    setting = setting_in(tmp_path)
    for _ in range(MAX_ROLLBACKS):
        advance(setting, 1)
        setting.recovery.roll_back("the loss became nan")
    assert setting.recovery.rate_scale == 0.5**MAX_ROLLBACKS
    (before,) = (file.read_bytes() for file in tmp_path.glob("*.pt"))
    advance(setting, 1)
    with pytest.raises(TrainingError, match=r"halved 3 times; the last checkpoint is untouched"):
        setting.recovery.roll_back("the loss became nan")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_weights_are_named(tmp_path, bad):
    setting = setting_in(tmp_path)
    setting.recovery.refuse_broken_weights()
    setting.network.weight.data.fill_(bad)
    with pytest.raises(NotFinite, match=r"^a weight of network became NaN or infinite$"):
        setting.recovery.refuse_broken_weights()
