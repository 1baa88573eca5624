"""Networks, one build table for each kind.

The files import nothing of Atelier (docs/decisions/0003).
"""
