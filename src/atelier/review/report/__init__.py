"""`atelier report`: what became of every model, in one HTML file that needs neither a network nor JavaScript."""

from atelier.review.report.contents import History
from atelier.review.report.gathering import gather
from atelier.review.report.page import rendered

__all__ = ["History", "gather", "rendered"]
