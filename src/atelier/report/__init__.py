"""`atelier report`: what became of every model, in one HTML file that needs neither a network nor JavaScript."""

from atelier.report.gathering import gather
from atelier.report.history import History
from atelier.report.page import rendered

__all__ = ["History", "gather", "rendered"]
