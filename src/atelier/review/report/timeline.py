"""The timeline of a model as plain coordinates, which the page draws as SVG.

From left to right come the versions as they were registered and, between them, the changes of the
champion that did not come with a version's own promotion. Each version is a bar, its interval, with
a dot, its score; the line is the score of whoever was champion.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atelier.registry import Decision
from atelier.review.report.contents import Line, ModelHistory, Score

# In pixels: the picture,
HEIGHT = 190
WIDEST = 900
NARROWEST = 360
# the area of the scores in it,
TOP = 10
BOTTOM = 148
# the margins beside that,
LEFT = 56
RIGHT = 16
# a slot at most, and the room that a number and a date need.
SLOT = 90
LABEL = 24
DATE = 78
NUM_TICKS = 4
# A score further from the median than so many times the middle half's width is drawn at the edge,
# or one collapsed training would press all others into a line.
FAR = 5.0
FEWEST = 8  # with fewer versions there is no telling


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
class Axis:
    """The values that the picture shows.

    Attributes:
        low: at its bottom.
        high: at its top.
    """

    low: float
    high: float

    def y_of(self, value: float) -> float:
        """The height at which a value is drawn; one that lies beyond the axis stands at its end."""
        share = (min(self.high, max(self.low, value)) - self.low) / (self.high - self.low)
        return round(BOTTOM - share * (BOTTOM - TOP), 1)

    def side_of(self, value: float) -> str:
        """Where a value lies that is not shown, "above" or "below"; empty if it is."""
        if value > self.high:
            return "above"
        return "below" if value < self.low else ""


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
    axis = _axis([*scores.values()], model.champion.score if model.champion else None)
    slots = moments(model.lines, model.decisions)
    width = max(NARROWEST, min(WIDEST, LEFT + RIGHT + SLOT * len(slots)))
    pitch = (width - LEFT - RIGHT) / len(slots)
    places = [round(LEFT + pitch * (index + 0.5), 1) for index in range(len(slots))]
    heights = {number: axis.y_of(score["value"]) for number, score in scores.items()}
    return Timeline(
        width=width,
        ticks=tuple((axis.y_of(value), f"{value:.6g}") for value in _ticks(axis.low, axis.high)),
        steps=tuple(_steps(slots, places, heights, width)),
        marks=tuple(_marks(slots, places, axis)),
        labels=tuple(_labels(slots, places)),
    )


def moments(lines: Sequence[Line], decisions: Sequence[Decision]) -> list[Slot]:
    """The slots in the order of time.

    A version that was promoted before anything else happened has one.
    """
    events: list[tuple[str, int, Line | Decision]] = []
    events += [(line.version.created, 0, line) for line in lines]
    events += [
        (decision.at, 1, decision)
        for decision in decisions
        if decision.champion != decision.champion_before
    ]
    slots: list[Slot] = []
    for at, _, event in sorted(events, key=lambda event: event[:2]):
        last = slots[-1] if slots else None
        if isinstance(event, Line):
            slots.append(Slot(event, last.champion if last else None, at))
        elif last and last.line is not None and last.line.version.number == event.champion:
            last.champion = event.champion
        else:
            slots.append(Slot(None, event.champion, at))
    return slots


def _axis(scores: Sequence[Score], champion: Score | None) -> Axis:
    """From the lowest to the highest value that is drawn."""
    values = [score["value"] for score in scores]
    visible = list(scores)
    if len(values) >= FEWEST:
        first, middle, third = statistics.quantiles(values, n=4)
        reach = FAR * (third - first)
        visible = [score for score in scores if abs(score["value"] - middle) <= reach] or visible
    if champion is not None:
        visible.append(champion)
    low = min(score["low"] for score in visible)
    high = max(score["high"] for score in visible)
    margin = 0.05 * (high - low) or abs(low) * 0.05 or 1.0
    return Axis(low - margin, high + margin)


def _marks(slots: Sequence[Slot], places: Sequence[float], axis: Axis) -> Iterator[Mark]:
    for x, slot in zip(places, slots, strict=True):
        score = slot.line.score if slot.line is not None else None
        if slot.line is None or not score:
            continue
        yield Mark(
            x=x,
            y=axis.y_of(score["value"]),
            top=axis.y_of(score["high"]),
            bottom=axis.y_of(score["low"]),
            beyond=axis.side_of(score["value"]),
            line=slot.line,
        )


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
    labels = []
    last_label = -math.inf
    last_date = -math.inf
    last_day = ""
    for x, slot in zip(places, slots, strict=True):
        if x - last_label < LABEL:
            continue
        last_label = x
        day = ""
        if slot.at[:10] != last_day and x - last_date >= DATE:
            day = slot.at[:10]
            last_date = x
            last_day = day
        number = slot.line.version.number if slot.line else None
        label = str(number) if number else f"\u2192 {slot.champion or 'none'}"
        labels.append(Text(x, label, day))
    return labels
