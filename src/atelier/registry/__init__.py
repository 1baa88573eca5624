"""MLflow: runs, registered versions and aliases. No other package imports mlflow (here lazily).

A registered model is a key of params.yaml. Aliases, lower case: `challenger`, `champion`,
`previous`.
"""

from atelier.registry.decisions import Action, Decision, sign_now
from atelier.registry.fleet import Fleet, read_fleet
from atelier.registry.ledger import START, Entry, Ledger
from atelier.registry.records import RunRecord, Version
from atelier.registry.run_log import RunLog
from atelier.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, Registry

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "START",
    "Action",
    "Decision",
    "Entry",
    "Fleet",
    "Ledger",
    "Registry",
    "RunLog",
    "RunRecord",
    "Version",
    "read_fleet",
    "sign_now",
]
