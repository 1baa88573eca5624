"""The timeline of a model as plain coordinates, which the page draws as SVG.

From left to right come the versions as they were registered and, between them, the changes of the champion that did
not come with a version's own promotion. Each version is a bar, its interval, with a dot, its score; the line is the
score of whoever was champion.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from atelier.registry import Decision
from atelier.review.report.contents import Line, ModelHistory, Score

HEIGHT, TOP, BOTTOM = 190, 10, 148  # of the picture; of the area of the scores, in pixels
LEFT, RIGHT = 56, 16  # margins
WIDEST, NARROWEST, SLOT = 900, 360, 90  # of the picture at most and at least; of a slot at most
LABEL, DATE = 24, 78  # room that a number and a date need
NUM_TICKS = 4
# A score further from the median than so many times the middle half's width is drawn at the edge, or one collapsed
# training would press all others into a line. With fewer versions than this there is no telling.
FAR, FEWEST = 5.0, 8


@dataclass
class Slot:
    """A moment: a version was registered, or somebody else became champion.

    Attributes:
        line: the version; None for a change of champion.
        champion: in charge from then on; None: nobody, or not known.
        at: time, ISO 8601, UTC.
    """

    line: Line | None
    champion: int | None
    at: str


@dataclass(frozen=True)
class Mark:
    """A version in the picture.

    Attributes:
        x: of its bar.
        y: of its score.
        top: upper end of its interval.
        bottom: the lower end.
        beyond: "above" or "below" if its score lies outside of the picture, else "".
        line: the version.
    """

    x: float
    y: float
    top: float
    bottom: float
    beyond: str
    line: Line


@dataclass(frozen=True)
class Text:
    """A label at x: what, and below it the date or nothing."""

    x: float
    what: str
    date: str


@dataclass(frozen=True)
class Timeline:
    """All that is drawn, in pixels; y grows downwards.

    Attributes:
        width: of the picture.
        ticks: (y, label) of the axis.
        steps: points of each unbroken piece of the champion's line, "x,y x,y ...".
        marks: the versions that have a score.
        labels: below the axis.
    """

    width: int
    ticks: tuple[tuple[float, str], ...]
    steps: tuple[str, ...]
    marks: tuple[Mark, ...]
    labels: tuple[Text, ...]


def timeline(model: ModelHistory) -> Timeline | None:
    """Where everything goes; None if no version has a score."""
    scores = {line.version.number: line.score for line in model.lines if line.score}
    if not scores:
        return None
    low, high = _extent([*scores.values()], model.champion.score if model.champion else None)
    slots = moments(model.lines, model.decisions)
    width = max(NARROWEST, min(WIDEST, LEFT + RIGHT + SLOT * len(slots)))
    pitch = (width - LEFT - RIGHT) / len(slots)
    places = [round(LEFT + pitch * (index + 0.5), 1) for index in range(len(slots))]

    def y_of(value: float) -> float:
        return round(BOTTOM - (min(high, max(low, value)) - low) / (high - low) * (BOTTOM - TOP), 1)

    marks = []
    for x, slot in zip(places, slots, strict=True):
        if slot.line is not None and (score := slot.line.score):
            beyond = "above" if score["value"] > high else "below" if score["value"] < low else ""
            marks.append(
                Mark(
                    x,
                    y_of(score["value"]),
                    y_of(score["high"]),
                    y_of(score["low"]),
                    beyond,
                    slot.line,
                )
            )
    return Timeline(
        width,
        tuple((y_of(value), f"{value:.6g}") for value in _ticks(low, high)),
        tuple(
            _steps(
                slots,
                places,
                {number: y_of(score["value"]) for number, score in scores.items()},
                width,
            )
        ),
        tuple(marks),
        tuple(_labels(slots, places)),
    )


def moments(lines: Sequence[Line], decisions: Sequence[Decision]) -> list[Slot]:
    """The slots in the order of time; a version that was promoted before anything else happened has one."""
    events: list[tuple[str, int, Line | Decision]] = [
        (line.version.created, 0, line) for line in lines
    ]
    events += [(item.at, 1, item) for item in decisions if item.champion != item.champion_before]
    slots: list[Slot] = []
    for at, _, event in sorted(events, key=lambda event: event[:2]):
        champion = slots[-1].champion if slots else None
        if isinstance(event, Line):
            slots.append(Slot(event, champion, at))
        elif (
            slots and slots[-1].line is not None and slots[-1].line.version.number == event.champion
        ):
            slots[-1].champion = event.champion
        else:
            slots.append(Slot(None, event.champion, at))
    return slots


def _extent(scores: Sequence[Score], champion: Score | None) -> tuple[float, float]:
    """Lowest and highest value of the axis."""
    values = [score["value"] for score in scores]
    seen = list(scores)
    if len(values) >= FEWEST:
        first, middle, third = statistics.quantiles(values, n=4)
        reach = FAR * (third - first)
        seen = [score for score in scores if abs(score["value"] - middle) <= reach] or seen
    if champion is not None:
        seen.append(champion)
    low, high = min(score["low"] for score in seen), max(score["high"] for score in seen)
    margin = 0.05 * (high - low) or abs(low) * 0.05 or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Round values between two others, about `NUM_TICKS`."""
    rough = (high - low) / NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _steps(
    slots: Sequence[Slot], places: Sequence[float], heights: dict[int, float], width: int
) -> list[str]:
    """The champion's line, broken where there is no champion or it has no score."""
    pieces: list[list[str]] = []
    before = None
    for index, (x, slot) in enumerate(zip(places, slots, strict=True)):
        y = heights.get(slot.champion) if slot.champion is not None else None
        if y is not None:
            if before is None:
                pieces.append([])
            following = places[index + 1] if index + 1 < len(places) else width - RIGHT / 2
            pieces[-1] += [f"{x:g},{y:g}", f"{following:g},{y:g}"]
        before = y
    return [" ".join(piece) for piece in pieces]


def _labels(slots: Sequence[Slot], places: Sequence[float]) -> list[Text]:
    """As many numbers as there is room for, and fewer dates."""
    labels, last_label, last_date, written = [], -math.inf, -math.inf, ""
    for x, slot in zip(places, slots, strict=True):
        if x - last_label < LABEL:
            continue
        last_label, date = x, ""
        if slot.at[:10] != written and x - last_date >= DATE:
            last_date, date = x, slot.at[:10]
            written = date
        number = slot.line.version.number if slot.line else None
        labels.append(Text(x, str(number) if number else f"\u2192 {slot.champion or 'none'}", date))
    return labels
