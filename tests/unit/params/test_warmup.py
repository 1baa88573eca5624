"""What a training's length means for its warm-up and its rhythm."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atelier.errors import ConfigError
from atelier.params import Training, load_params
from atelier.params import warmup as module
from atelier.training.schedules import due, fitting_warmup, learning_rate

FILE = """
seed: 7
device: cpu
threads: 1
datasets: {{pics: {{source: folder, path: raw, image_size: 16, channels: 1}}}}
models:
  den: {{kind: restoration, dataset: pics, degradation: [{{noise: {{sigma: 0.2}}}}],
    network: {{name: cnn, width: 16, depth: 4}}, loss: l2,
    training: {{{budget}, batch_size: 8, lr: 2e-3, warmup_kimg: {warmup}}}}}
evaluation: {{num_images: 100, confidence: 0.95}}
promotion: {{restoration: {{metric: psnr}}}}
"""
KIMG, WARMUP = "models.den.training.kimg", "models.den.training.warmup_kimg"


@pytest.fixture
def warmup_of(tmp_path):
    def loaded(budget, warmup, *overrides):
        path = tmp_path / "params.yaml"
        path.write_text(FILE.format(budget=budget, warmup=warmup))
        training = load_params(path, overrides).models["den"].training
        if training.kimg is None:
            return training.warmup_kimg
        return (
            fitting_warmup(round(training.warmup_kimg * 1000), round(training.kimg * 1000)) / 1000
        )

    return loaded


@pytest.mark.parametrize(
    ("budget", "warmup", "overrides", "expected"),
    [
        ("kimg: 100", 50, [], 50),
        ("kimg: 50", 50, [], 50),
        ("minutes: 1", 50, [], 50),
        ("kimg: 1", 5, [], 0.5),
        ("kimg: 100", 50, [f"{KIMG}=2"], 1),
        ("kimg: 100", 50, [f" {KIMG} = 2"], 1),
        ("kimg: 2", 50, [f"{KIMG}=100"], 50),
        ("kimg: 2", 50, [f"{WARMUP}=1"], 1),
    ],
)
def test_a_warm_up_ends_within_its_training(warmup_of, budget, warmup, overrides, expected):
    assert warmup_of(budget, warmup, *overrides) == expected


@pytest.mark.parametrize(
    ("budget", "warmup", "overrides"),
    [
        ("kimg: 2", 50, []),
        ("kimg: 5", 6, []),
        ("kimg: 100", 5, [f"{WARMUP}=200"]),
        ("kimg: 100", 5, [f"{WARMUP}=20", f"{KIMG}=10"]),
    ],
)
def test_a_long_warm_up_of_a_short_training_is_refused(warmup_of, budget, warmup, overrides):
    with pytest.raises(
        ConfigError, match="training.warmup_kimg = .* must not be longer than the training, kimg = "
    ):
        warmup_of(budget, warmup, *overrides)


def test_a_shortened_warm_up_is_told_once(warmup_of, caplog):
    module._say.cache_clear()
    for _ in range(3):
        warmup_of("kimg: 2", 5)
    (record,) = caplog.records
    assert record.getMessage() == f"{WARMUP} = 5 exceeds the training, kimg = 2: 1 is taken."


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kimg=st.floats(0.1, 10), warmup=st.floats(0, 5))
def test_a_training_that_is_accepted_reaches_its_learning_rate(warmup_of, kimg, warmup):
    total, ramp = round(kimg * 1000), round(warmup_of(f"kimg: {kimg}", warmup) * 1000)
    assert max(learning_rate(1.0, seen, total, ramp) for seen in range(total)) > 0.95


@given(kimg=st.floats(0.05, 500), batch_size=st.sampled_from([1, 8, 32]))
def test_every_training_is_reported_and_sampled(kimg, batch_size):
    training = Training(kimg=kimg, batch_size=batch_size, lr=1e-3)
    total = round(kimg * 1000)
    steps = range(batch_size, total + batch_size, batch_size)

    def times(every):
        return sum(due(seen, batch_size, every) for seen in steps)

    if total >= 100 * batch_size:
        assert times(training.log_every_kimg) >= 10
    assert times(training.sample_every_kimg) >= 1
    assert training.log_every_kimg <= 5
    assert training.sample_every_kimg <= 50


def test_what_is_given_is_the_rhythm():
    training = Training(kimg=10, batch_size=8, lr=1e-3, log_every_kimg=7, sample_every_kimg=70)
    assert (training.log_every_kimg, training.sample_every_kimg) == (7, 70)


def test_a_budget_in_minutes_has_the_rhythm_of_a_long_training():
    training = Training(minutes=1, batch_size=8, lr=1e-3)
    assert (training.log_every_kimg, training.sample_every_kimg) == (5, 50)
