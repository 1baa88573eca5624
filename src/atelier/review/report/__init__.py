"""`atelier report`: what became of every model, in one HTML file.

It needs neither a network nor JavaScript.
"""

from atelier.review.report.contents import History
from atelier.review.report.gathering import gather
from atelier.review.report.page import render_report

__all__ = ["History", "gather", "render_report"]
