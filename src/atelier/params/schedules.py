"""The section `schedules` of params.yaml: what runs by itself while the stack is up."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, model_validator

from atelier.params.record import Name, Record

# Field by field: what it is called, its lowest and highest number, and names from the lowest on.
CRON_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())),
    ("day of week", 0, 7, tuple("sun mon tue wed thu fri sat".split())),
)
LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHORTEST_SECONDS = 10  # Prefect's runner looks for due runs so often


def check_cron(text: str) -> str:
    """A cron expression of five fields, as crontab(5) has them.

    Raises:
        ValueError: naming the field, what it holds and what it may hold.
    """
    parts = text.split()
    if len(parts) != len(CRON_FIELDS):
        raise ValueError(
            f"{text!r} has {len(parts)} fields; a cron expression has five: minute, hour, ..."
        )
    named = zip(parts, CRON_FIELDS, strict=True)
    values = [_cron_values(part, *field) for part, field in named]
    _, _, days, months, _ = values
    if parts[4] == "*" and min(days) > max(LONGEST_MONTHS[month - 1] for month in months):
        raise ValueError(f"{text!r} never comes: no such month has {min(days)} days")
    return text


def _cron_values(part: str, name: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    """The numbers that a field of a cron expression stands for."""
    values: set[int] = set()
    for term in part.lower().split(","):
        for number, word in enumerate(names, start=low):
            term = re.sub(rf"\b{word}\b", str(number), term)
        match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", term)
        if match is None:
            raise ValueError(
                f"{name} {part!r}: expected *, {low}-{high}, lists and steps such as */5"
            )
        first, last, step = map(_number, match.groups())
        start = low if first is None else first
        if first is None or (step is not None and last is None):
            stop = high
        else:
            stop = start if last is None else last
        if not low <= start <= stop <= high or step == 0:
            raise ValueError(f"{name} {part!r} is outside {low}-{high}")
        values |= set(range(start, stop + 1, step or 1))
    return values


def _number(digits: str | None) -> int | None:
    return int(digits) if digits else None


def check_zone(text: str) -> str:
    """A time zone of the IANA database.

    Raises:
        ValueError: if there is none of this name.
    """
    if text not in available_timezones():
        raise ValueError(f"{text!r} is no time zone; expected a name such as Europe/Berlin or UTC")
    return text


def check_period(text: str) -> str:
    """A number and a unit, such as 30s, 5m, 2h or 1d.

    Raises:
        ValueError: if it is none, or too short.
    """
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r}: expected a number and a unit, such as 30s, 5m, 2h or 1d")
    if int(match[1]) * UNITS[match[2]] < SHORTEST_SECONDS:
        raise ValueError(f"{text!r} is too short: at least {SHORTEST_SECONDS}s")
    return text


Cron = Annotated[str, AfterValidator(check_cron)]
Zone = Annotated[str, AfterValidator(check_zone)]
Period = Annotated[str, AfterValidator(check_period)]


class Schedule(Record):
    """When `atelier run` happens by itself; called `watch`, only where the data changed."""

    cron: Cron | None = None  # by the clock of `timezone`
    every: Period | None = None  # instead: at fixed distances
    timezone: Zone = "UTC"  # of the clock that `cron` goes by
    # Of several ticks that came due while nothing could run: the newest, all one after another, or
    # none.
    late: Literal["newest", "all", "skip"] = "newest"
    models: list[Name] = Field(default_factory=list)  # only these and what they need; none: all
    overrides: list[str] = Field(default_factory=list)  # as of `atelier run --set`

    @model_validator(mode="after")
    def _has_one_rhythm(self) -> Schedule:
        if (self.cron is None) == (self.every is None):
            raise ValueError("needs one of two: cron, or every")
        return self

    @property
    def period(self) -> timedelta | None:
        """The distance of two ticks; None for a cron expression."""
        if self.every is None:
            return None
        return timedelta(seconds=int(self.every[:-1]) * UNITS[self.every[-1]])


Schedules = dict[Name, Schedule]
