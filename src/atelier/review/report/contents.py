"""What the report tells, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atelier.registry import CHAMPION, Decision, RunRecord, Version

Score = Mapping[str, float]  # "value", "low" and "high", all finite


@dataclass(frozen=True)
class Verdict:
    """What was decided about a version once.

    Attributes:
        action: promoted, kept, waiting, rejected, approved, or rolled back.
        reasons: sentences.
        at: time, ISO 8601, UTC; empty if it isn't known.
        who: user name; empty if it isn't known.
    """

    action: str
    reasons: tuple[str, ...]
    at: str
    who: str


@dataclass(frozen=True)
class Line:
    """One version.

    Attributes:
        version: as registered.
        run: that trained it; None if MLflow has it no more.
        score: by the metric that decides; None if it has none, or none that is finite.
        verdicts: on it, oldest first.
        was_champion: whether it ever was.
        comparable: whether it was scored on the same version of the data as the newest that was
            scored.
    """

    version: Version
    run: RunRecord | None
    score: Score | None
    verdicts: tuple[Verdict, ...]
    was_champion: bool
    comparable: bool

    @property
    def is_champion(self) -> bool:
        """Whether it is now."""
        return CHAMPION in self.version.aliases


@dataclass(frozen=True)
class Thumbnail:
    """A picture as the page shows it.

    Attributes:
        uri: `data:image/webp;base64,...`.
        width: in pixels.
        height: in pixels.
    """

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class ModelHistory:
    """One model.

    Attributes:
        name: of the registered model.
        kind: of params.yaml, or of its newest run; empty if neither says it.
        metric: that decides who is champion; empty if nothing was scored.
        better: "higher", "lower", or "" if the metric's direction is not known.
        lines: its versions, oldest first.
        decisions: of its ledger, oldest first; empty if that can't be trusted.
        warnings: what somebody should look at.
        remarks: what else is to be said of its state.
        caption: of its pictures.
        pictures: of former champions, the champion and its challenger, oldest first.
    """

    name: str
    kind: str
    metric: str
    better: str
    lines: tuple[Line, ...]
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]
    remarks: tuple[str, ...]
    caption: str
    pictures: tuple[tuple[Line, Thumbnail], ...]

    @property
    def champion(self) -> Line | None:
        """The version in charge."""
        return next((line for line in self.lines if line.is_champion), None)


@dataclass(frozen=True)
class History:
    """All of it.

    Attributes:
        project: name of its folder.
        uri: of MLflow.
        models: in the order of params.yaml, then those that are only registered.
        failures: runs that ended FAILED or KILLED, newest first, each with the name of its
            experiment.
        num_runs: all runs, without the ledger's.
        minutes: of training, all runs together.
        problems: why the report is not whole; empty if it is.
    """

    project: str
    uri: str
    models: tuple[ModelHistory, ...]
    failures: tuple[tuple[str, RunRecord], ...]
    num_runs: int
    minutes: float
    problems: tuple[str, ...]
