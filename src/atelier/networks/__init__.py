"""Networks, one build table for each kind; the files import nothing of Atelier (docs/decisions/0003)."""
