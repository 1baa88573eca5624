import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.errors import ConfigError
from atelier.params import load_params
from atelier.params.schedules import CRON_FIELDS, check_cron
from tests.support.properties import examples
from tests.unit.params.test_params import EXAMPLE


def load(tmp_path, schedules):
    path = tmp_path / "params.yaml"
    path.write_text(f"{EXAMPLE}\nschedules: {schedules}\n")
    return load_params(path).schedules


def test_a_schedule_has_a_rhythm_a_zone_and_a_rule_for_late_ticks(tmp_path):
    found = load(
        tmp_path,
        '{nightly: {cron: "0 2 * * *", timezone: Europe/Berlin, late: all}, watch: {every: 5m}}',
    )
    assert (found["nightly"].timezone, found["nightly"].late, found["nightly"].period) == (
        "Europe/Berlin",
        "all",
        None,
    )
    assert (found["watch"].period, found["watch"].late, found["watch"].models) == (
        timedelta(minutes=5),
        "newest",
        [],
    )


@pytest.mark.parametrize(
    ("schedules", "problem"),
    [
        ('{a: {cron: "0 2 * *"}}', "schedules.a.cron: '0 2 * *' has 4 fields"),
        ('{a: {cron: "61 2 * * *"}}', "schedules.a.cron: minute '61' is outside 0-59"),
        ('{a: {cron: "x 2 * * *"}}', "schedules.a.cron: minute 'x': expected *, 0-59"),
        ('{a: {cron: "0 0 31 2 *"}}', "schedules.a.cron: '0 0 31 2 *' never comes"),
        (
            '{a: {cron: "0 2 * * *", timezone: Berlin}}',
            "schedules.a.timezone: 'Berlin' is no time zone",
        ),
        ("{a: {every: 5 minutes}}", "schedules.a.every: '5 minutes': expected a number and a unit"),
        ("{a: {every: 1s}}", "schedules.a.every: '1s' is too short: at least 10s"),
        ("{a: {}}", "schedules.a: needs one of two: cron, or every"),
        ('{a: {every: 1m, cron: "* * * * *"}}', "schedules.a: needs one of two: cron, or every"),
        ("{a: {every: 1m, models: [denois]}}", "schedules.a.models: 'denois' is not one of models"),
        ("{a: {every: 1m, late: never}}", "schedules.a.late = 'never' is not one of"),
    ],
)
def test_a_mistake_in_a_schedule_is_named_with_its_path(tmp_path, schedules, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)):
        load(tmp_path, schedules)


@examples(3)
@given(st.tuples(*(st.integers(low, high) for _, low, high, _ in CRON_FIELDS)), st.integers(1, 9))
def test_numbers_ranges_lists_and_steps_within_a_field_are_cron(numbers, step):
    minute, hour, day, month, weekday = numbers
    check_cron(f"{minute} {hour} * * {weekday}")
    check_cron(f"*/{step} 0-{hour} 1,{day} {month}/{step} mon-fri")
