import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from atelier.errors import ConfigError
from atelier.params import Training
from atelier.training.device import choose_device, make_deterministic
from atelier.training.ema import averaged_copy, averaging
from atelier.training.schedules import due, learning_rate
from atelier.training.session import adam, placed

LATE = 10**9  # images seen: so many that the half-life is no longer capped


def constant(value):
    """A network whose weights and running statistics are all one number."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    for tensor in network.state_dict().values():
        tensor.fill_(value)
    return network


def two_kimg(batch_size):
    return Training(kimg=1.0, batch_size=batch_size, lr=0.1, ema_halflife_kimg=2.0)


def values_of(network):
    return {name: tensor.unique().tolist() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("batch_size", [1, 16, 250])
def test_after_a_halflife_the_old_weights_have_half_a_share(batch_size):
    old, new = constant(0), constant(8)
    update = averaging(old, new, two_kimg(batch_size))
    for _ in range(2000 // batch_size):
        update(LATE)
    for name, values in values_of(old).items():
        assert values == (
            [8] if name.endswith("num_batches_tracked") else [pytest.approx(4, rel=1e-4)]
        )


@pytest.mark.parametrize(
    ("images_seen", "share"), [(100, 2**-20), (1000, 0.25), (2000, 0.5), (40_000, 2 ** (-1 / 20))]
)
def test_early_on_the_halflife_is_a_twentieth_of_the_images_seen(images_seen, share):
    old, new = constant(1), constant(0)
    averaging(old, new, two_kimg(100))(images_seen)
    assert values_of(old)["0.weight"] == [pytest.approx(share, rel=1e-4, abs=1e-6)]


def test_the_average_of_equal_weights_stays_as_it_is():
    network = constant(0.3)
    average = averaged_copy(network)
    averaging(average, network, two_kimg(16))(LATE)
    assert values_of(average) == values_of(network)


def test_an_averaged_copy_is_frozen_and_on_its_own():
    network = constant(1).train()
    average = averaged_copy(network)
    network[0].weight.data.fill_(5)
    assert values_of(average)["0.weight"] == [1]
    assert not any(weight.requires_grad for weight in average.parameters())
    assert not average.training
    assert network.training
    assert all(weight.requires_grad for weight in network.parameters())


def test_the_learning_rate_rises_to_its_peak_then_falls_to_zero_along_a_cosine():
    rates = [learning_rate(2.0, seen, 1100, 100) for seen in range(1101)]
    assert rates[0] == pytest.approx(2 / 101)  # never zero: the first batch counts
    assert rates[50] == pytest.approx(2 * 51 / 101)
    assert rates[100] == 2.0
    assert rates[350] == pytest.approx(1 + math.sqrt(0.5))
    assert rates[600] == pytest.approx(1.0)
    assert rates[1100] == pytest.approx(0.0)
    assert rates[:101] == sorted(rates[:101])
    assert rates[100:] == sorted(rates[100:], reverse=True)


@given(seen=st.integers(0, 10**7), total=st.integers(1, 10**6), warmup=st.integers(0, 10**6))
def test_the_learning_rate_stays_between_zero_and_its_peak(seen, total, warmup):
    assert 0 <= learning_rate(0.1, seen, total, warmup) <= 0.1


def test_without_warmup_training_starts_at_the_peak():
    assert learning_rate(0.3, 0, 1000, 0) == 0.3


@given(batch_size=st.integers(1, 500), every=st.integers(1, 2000), steps=st.integers(1, 50))
def test_what_is_due_every_so_many_images_comes_once_for_each_multiple(batch_size, every, steps):
    came = sum(due((k + 1) * batch_size, batch_size, every / 1000) for k in range(steps))
    assert came == (steps if batch_size >= every else steps * batch_size // every)


def test_what_is_due_more_often_than_once_an_image_comes_at_every_step():
    assert due(1, 1, 1e-9)


TRAINING = Training(kimg=1.0, batch_size=16, lr=0.5, betas=(0.25, 0.75), warmup_kimg=0.1)


def test_adam_has_the_betas_of_the_parameters():
    optimizer = adam(constant(1), TRAINING)
    assert optimizer.defaults["betas"] == (0.25, 0.75)
    assert len(optimizer.param_groups[0]["params"]) == 4


def test_placed_kernels_are_channels_last_and_keep_their_values():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    before = [weight.clone() for weight in network.parameters()]
    assert not network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert placed(network, torch.device("cpu")) is network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(
        torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True)
    )


def test_a_device_that_is_not_there_is_an_error_never_a_fallback():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(
        ConfigError,
        match=rf"device = 'cuda:99', but torch .* sees {torch.cuda.device_count()} CUDA",
    ):
        choose_device("cuda:99")


@pytest.fixture
def torch_settings():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def test_threads_and_deterministic_kernels_are_fixed(torch_settings, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    assert make_deterministic(1) == torch.get_num_threads() == 1
    assert make_deterministic("auto") == torch.get_num_threads() >= 1
    assert torch.are_deterministic_algorithms_enabled()
