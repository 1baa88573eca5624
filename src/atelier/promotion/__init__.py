"""Who is champion: the gate's decisions, people's decisions, and the way back."""

from atelier.promotion.agreement import find_disagreements
from atelier.promotion.aliases import (
    Proposal,
    begin_again,
    carry_out,
    disagreements,
    repair_interrupted,
)
from atelier.promotion.blessings import (
    QUALITY,
    failures_besides_quality,
    measurements_of,
    quality_blessing,
)
from atelier.promotion.decisions import (
    let_the_gate_decide,
    propose_approval,
    propose_promotion,
    propose_rejection,
    propose_rollback,
    require_decidable,
)

__all__ = [
    "QUALITY",
    "Proposal",
    "begin_again",
    "carry_out",
    "disagreements",
    "failures_besides_quality",
    "find_disagreements",
    "let_the_gate_decide",
    "measurements_of",
    "propose_approval",
    "propose_promotion",
    "propose_rejection",
    "propose_rollback",
    "quality_blessing",
    "repair_interrupted",
    "require_decidable",
]
