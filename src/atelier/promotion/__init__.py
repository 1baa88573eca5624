"""Who is champion: the gate's decisions, people's decisions, and the way back."""

from atelier.promotion.aliases import Proposal, begin_again, commit, drift, settle
from atelier.promotion.by_hand import propose_approval, propose_promotion, propose_rejection, propose_rollback
from atelier.promotion.drift import adrift
from atelier.promotion.judgement import (
    INFRASTRUCTURE,
    QUALITY,
    blocking_failures,
    decide,
    examine,
    measured,
    require_decidable,
)

__all__ = [
    "INFRASTRUCTURE",
    "QUALITY",
    "Proposal",
    "adrift",
    "begin_again",
    "blocking_failures",
    "commit",
    "decide",
    "drift",
    "examine",
    "measured",
    "propose_approval",
    "propose_promotion",
    "propose_rejection",
    "propose_rollback",
    "require_decidable",
    "settle",
]
