"""Times and sizes as people say them."""

from __future__ import annotations

MINUTE = 60
HOUR = 3600


def about_seconds(seconds: float) -> str:
    """A time that is known roughly: `40 s`, `3 min`, `2 h 10 min`."""
    if seconds < 1.5 * MINUTE:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / MINUTE)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def about_bytes(count: float) -> str:
    """A size that is known roughly: `300 kB`, `140 MB`, `2.1 GB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= 0.95 * unit:
            return f"{count / unit:.{0 if count >= 10 * unit else 1}f} {name}"
    return f"{max(1, round(count / 1e3))} kB"


def show_clock(seconds: float) -> str:
    """A time as a clock shows it: `2:10`, `1:02:10`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
