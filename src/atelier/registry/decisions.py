"""Decisions about versions, as the ledger keeps them."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atelier.registry.records import Version


class Action(StrEnum):
    """What can be decided about a version; the values are what ledger, tags and tables say."""

    PROMOTED = "promoted"
    APPROVED = "approved"  # by a person, after the gate
    KEPT = "kept"  # the champion stays: this one is not proven better
    WAITING = "waiting"  # for a person's approval
    REJECTED = "rejected"
    ROLLED_BACK = "rolled back"
    CLOSED = "closed"  # its versions are gone: what was decided before counts no more

    @property
    def crowns(self) -> bool:
        """Whether the version that a proposal is about becomes champion."""
        return self in (Action.PROMOTED, Action.APPROVED, Action.ROLLED_BACK)

    @property
    def keeps_challenger(self) -> bool:
        """Whether the version, if it is the challenger, stays it."""
        return self in (Action.KEPT, Action.WAITING)

    @property
    def verdict(self) -> Action:
        """What the version itself tells of it: an approval is a promotion."""
        return Action.PROMOTED if self is Action.APPROVED else self


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about a version, by whom and why.

    Attributes:
        model: the registered model.
        action: what becomes of that version.
        version: the version that it is about.
        reasons: sentences for people.
        champion_before: the champion until then; None: there was none.
        champion: the champion from then on.
        previous: the version to roll back to from then on.
        challenger: the version that waits to be judged or approved from then on.
        who: user name.
        at: time, ISO 8601, UTC.
        flow_run_id: of Prefect; empty if it was decided by hand.
        runs: the run of each version that is named here, by its number. A model that was deleted
            in MLflow and made again gives the numbers again, the runs never.
    """

    model: str
    action: Action
    version: int
    reasons: tuple[str, ...]
    champion_before: int | None
    champion: int | None
    previous: int | None
    challenger: int | None
    who: str
    at: str
    flow_run_id: str = ""
    runs: Mapping[str, str] = field(default_factory=dict)

    def knows(self, version: Version) -> bool:
        """Whether a version is named here, and not another one that was given its number."""
        named = {self.version, self.champion, self.previous, self.challenger}
        if version.number not in named:
            return False
        if not self.runs:
            # Written before runs were: what was made after it can't be what it is about.
            return version.created <= self.at
        return self.runs.get(str(version.number)) == version.run_id


def sign_now() -> dict[str, str]:
    """Who decides, and when."""
    return {"who": getpass.getuser(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
