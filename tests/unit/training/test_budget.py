"""How long a training is and how far, of whatever budget, batch size and rhythm."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.params import Training
from atelier.training.budget import CALIBRATION, Budget, Position
from atelier.training.schedules import fitting_warmup, learning_rate

BATCHES = st.integers(1, 64)
IMAGES = st.integers(1, 3000)


def budget_of(batch_size, **changes):
    return Budget(Training(**{"batch_size": batch_size, "lr": 0.1, "kimg": 1.0, **changes}))


def steps_of(budget):
    """Goes through all steps, and stops at each."""
    while not budget.is_spent():
        yield budget.advance()


@given(BATCHES, IMAGES)
def test_steps_follow_each_other_until_all_images_are_seen(batch_size, total):
    budget = budget_of(batch_size, kimg=total / 1000)
    positions = list(steps_of(budget))
    assert [at.before for at in positions] == list(range(0, total, batch_size))
    assert all(at.after == at.before + batch_size for at in positions)
    assert positions[-1].after >= total
    assert budget.total_images == total


@given(BATCHES, IMAGES)
def test_progress_rises_from_above_zero_to_one_in_the_last_step(batch_size, total):
    budget = budget_of(batch_size, kimg=total / 1000)
    assert budget.progress() == 0
    shares = [budget.progress() for _ in steps_of(budget)]
    assert shares == sorted(set(shares))
    assert shares[0] > 0
    assert [share for share in shares if share == 1] == [1]
    assert shares[-1] == 1


@given(BATCHES, IMAGES, st.integers(1, 4000))
def test_a_rhythm_is_kept_whatever_the_batch_size_and_the_last_step_is_due(
    batch_size, total, every
):
    budget = budget_of(batch_size, kimg=total / 1000)
    due = [at.after for at in steps_of(budget) if budget.is_due(every / 1000)]
    last = budget.position.after
    assert due[-1] == last
    multiples = range(every, last + 1, every)
    crossed = {math.ceil(multiple / batch_size) * batch_size for multiple in multiples}
    assert due == sorted(crossed | {last})


@given(BATCHES, st.integers(100, 3000), st.floats(0, 5))
def test_the_rate_is_that_of_the_schedule_where_the_step_begins(batch_size, total, warmup_kimg):
    budget = budget_of(batch_size, kimg=total / 1000, warmup_kimg=warmup_kimg)
    warmup = fitting_warmup(round(warmup_kimg * 1000), total)
    rates = []
    for at in steps_of(budget):
        rates.append(budget.learning_rate(0.5))
        assert rates[-1] == learning_rate(0.5, at.before, total, warmup)
    assert 0 < max(rates) <= 0.5


@given(BATCHES, st.integers(0, 2000))
def test_until_the_length_is_known_the_rate_stays_at_its_peak_and_nothing_ends(batch_size, warmup):
    budget = budget_of(batch_size, kimg=None, minutes=1.0, warmup_kimg=warmup / 1000)
    rates = []
    for _ in range(40):
        at = budget.advance()
        rates.append(budget.learning_rate(0.5))
        assert (rates[-1] == 0.5) == (at.before >= warmup)
        assert not budget.is_spent()
        assert budget.progress() == 0
        assert not budget.is_due(1e6)
    assert rates == sorted(rates)


@given(
    BATCHES,
    st.floats(0.01, 1000),
    st.integers(1, 200),
    st.floats(CALIBRATION * 1.001, 5, allow_nan=False),
)
def test_minutes_become_the_images_that_fit_at_the_speed_so_far(batch_size, minutes, steps, share):
    """`share` of the budget was used by `steps`."""
    budget = budget_of(batch_size, kimg=None, minutes=minutes)
    for _ in range(steps):
        budget.advance()
    budget.calibrate(share * minutes * 60)
    assert budget.total_images % batch_size == 0
    length = budget.total_images // batch_size
    assert length >= steps + 1
    assert length == steps + 1 or abs(length - steps / share) <= 0.5 + 1e-6 * length
    assert not budget.is_spent()
    left = list(steps_of(budget))
    assert len(left) == length - steps
    assert budget.progress() == 1


@given(BATCHES, st.floats(0.01, 1000), st.integers(0, 9), st.floats(0, CALIBRATION * 0.999))
def test_too_short_a_time_says_nothing_of_the_speed(batch_size, minutes, steps, share):
    budget = budget_of(batch_size, kimg=None, minutes=minutes)
    for _ in range(steps):
        budget.advance()
    budget.calibrate(share * minutes * 60)
    assert budget.total_images is None


def test_before_the_first_step_no_time_says_anything_of_the_speed():
    budget = budget_of(4, kimg=None, minutes=1.0)
    budget.calibrate(59.0)
    assert budget.total_images is None


@pytest.mark.parametrize("total", [None, 5000])
def test_a_budget_goes_on_from_its_state(total):
    state = {"images_seen": 300, "total_images": total, "rng": "of others"}
    budget = budget_of(50, kimg=None, minutes=1.0)
    budget.load_state_dict(state)
    assert budget.state_dict() == {"images_seen": 300, "total_images": total}
    assert budget.advance() == Position(before=300, after=350)


def test_a_budget_needs_no_torch():
    code = "import sys; import atelier.training.budget; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
