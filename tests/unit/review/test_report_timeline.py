import math

import pytest

from atelier.review.report.timeline import (
    BOTTOM,
    DATE,
    HEIGHT,
    LABEL,
    LEFT,
    NARROWEST,
    RIGHT,
    TOP,
    WIDEST,
    moments,
    timeline,
)
from tests.support.histories import change, line_of, model_of


def points(step):
    return [tuple(map(float, point.split(","))) for point in step.split()]


def told(slots):
    """Each slot: the version that was registered or None, and who was champion from then on."""
    return [(slot.line.version.number if slot.line else None, slot.champion) for slot in slots]


def test_a_promotion_belongs_to_its_version_and_any_other_change_has_a_place_of_its_own():
    lines = [line_of(1), line_of(2, day=3), line_of(3, day=5)]
    decisions = [
        change(1, None, 1),
        change(3, 1, 2),
        change(4, 2, 1, "rolled back"),
        change(6, 1, 2, "approved"),
    ]
    assert told(moments(lines, decisions)) == [(1, 1), (2, 2), (None, 1), (3, 1), (None, 2)]


def test_a_decision_that_changes_no_champion_has_no_place():
    assert told(
        moments([line_of(1), line_of(2)], [change(1, None, 1), change(2, 1, 1, "kept")])
    ) == [(1, 1), (2, 1)]


def test_heights_follow_the_scores_and_intervals():
    lines = [line_of(1, 20.0, aliases=("champion",)), line_of(2, 23.0), line_of(3, 21.5)]
    drawn = timeline(model_of(lines, [change(1, None, 1)]))
    first, second, third = drawn.marks
    assert TOP <= second.top < second.y < second.bottom <= BOTTOM
    assert first.y > third.y > second.y  # y grows downwards
    assert third.y == pytest.approx((first.y + second.y) / 2, abs=0.1)
    assert first.bottom - first.y == pytest.approx(first.y - first.top, abs=0.11)
    assert LEFT < first.x < second.x < third.x < drawn.width - RIGHT
    assert {mark.beyond for mark in drawn.marks} == {""}


def test_the_line_is_the_champion_s_score_and_steps_where_it_changes():
    lines = [line_of(1, 20.0), line_of(2, 18.0), line_of(3, 22.0, day=6)]
    drawn = timeline(
        model_of(lines, [change(1, None, 1), change(2, 1, 2), change(3, 2, 1), change(6, 1, 3)])
    )
    one, two, three = drawn.marks
    (step,) = drawn.steps
    found = points(step)
    assert found[:4] == [(one.x, one.y), (two.x, one.y), (two.x, two.y), (found[3][0], two.y)]
    assert found[4:6] == [(found[3][0], one.y), (three.x, one.y)]
    assert found[6] == (three.x, three.y) and found[7][0] > three.x
    assert [label.what for label in drawn.labels] == ["1", "2", "\u2192 1", "3"]


def test_the_line_is_broken_while_nobody_is_champion_or_it_has_no_score():
    lines = [line_of(1, 20.0), line_of(2), line_of(3, 21.0)]
    drawn = timeline(model_of(lines, [change(1, None, 1), change(2, 1, 2), change(3, 2, 3)]))
    assert len(drawn.steps) == 2
    assert len(drawn.marks) == 2
    assert timeline(model_of(lines)).steps == ()


def test_a_collapsed_version_does_not_flatten_the_others_but_a_champion_is_always_inside():
    lines = [line_of(number, 20.0 + number % 3) for number in range(1, 12)]
    collapsed = timeline(model_of([*lines, line_of(12, -900.0)]))
    assert [mark.beyond for mark in collapsed.marks] == [""] * 11 + ["below"]
    assert collapsed.marks[0].y - collapsed.marks[1].y > 20
    crowned = timeline(model_of([*lines, line_of(12, -900.0, aliases=("champion",))]))
    assert {mark.beyond for mark in crowned.marks} == {""}
    few = timeline(model_of([line_of(1, 20.0), line_of(2, 20.1), line_of(3, -900.0)]))
    assert {mark.beyond for mark in few.marks} == {""}


@pytest.mark.parametrize("count", [1, 2, 9, 60, 400])
def test_any_number_of_versions_fits_and_no_labels_overlap(count):
    lines = [
        line_of(number, 20.0 + math.sin(number), day=1 + number % 28)
        for number in range(1, count + 1)
    ]
    drawn = timeline(model_of(lines))
    assert NARROWEST <= drawn.width <= WIDEST
    assert len(drawn.marks) == count
    places = [label.x for label in drawn.labels]
    assert all(after - before >= LABEL for before, after in zip(places, places[1:], strict=False))
    dated = [label.x for label in drawn.labels if label.date]
    assert dated and all(
        after - before >= DATE for before, after in zip(dated, dated[1:], strict=False)
    )


@pytest.mark.parametrize(
    ("value", "spread"), [(0.0, 0.0), (1e-6, 1e-8), (5.0, 0.0), (-3e8, 1e6), (0.914, 0.004)]
)
def test_ticks_are_round_few_and_inside_whatever_the_scale(value, spread):
    score = {"value": value, "low": value - spread, "high": value + spread}
    drawn = timeline(model_of([line_of(1, score=score)]))
    assert 2 <= len(drawn.ticks) <= 6
    assert all(TOP <= y <= BOTTOM < HEIGHT for y, _ in drawn.ticks)
    assert len({label for _, label in drawn.ticks}) == len(drawn.ticks)
    heights = [y for y, _ in drawn.ticks]
    assert heights == sorted(heights, reverse=True)


def test_without_a_score_there_is_nothing_to_draw():
    assert timeline(model_of([line_of(1)])) is None
    assert timeline(model_of([])) is None
