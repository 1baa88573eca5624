"""What leaves the house: the files of a registered version; `files`: the pictures it restores.

It knows no registry.
"""

from pathlib import Path

_HERE = Path(__file__).parent
# MLflow stores the first with every version, a restorer's bundle the second; the third is a program
# of its own.
SERVED_MODEL = _HERE / "served_model.py"
TILES = _HERE / "tiles.py"
INSPECTION = _HERE / "inspection.py"
