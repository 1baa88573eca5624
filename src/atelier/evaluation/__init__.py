"""Score one network on the test images: scores with intervals, a tidy table, and pictures."""

from atelier.evaluation.classification import evaluate_classifier
from atelier.evaluation.common import Evaluated, Protocol, with_pictures
from atelier.evaluation.explanation import explain_classifier, explain_generator, explain_restorer
from atelier.evaluation.generation import evaluate_generator
from atelier.evaluation.restoration import evaluate_restorer
from atelier.evaluation.translation import evaluate_unpaired

__all__ = [
    "Evaluated",
    "Protocol",
    "evaluate_classifier",
    "evaluate_generator",
    "evaluate_restorer",
    "evaluate_unpaired",
    "explain_classifier",
    "explain_generator",
    "explain_restorer",
    "with_pictures",
]
