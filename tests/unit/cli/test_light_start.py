"""What every command waits for before it does anything, `--help` and completion too."""

import subprocess
import sys

HEAVY = ("pydantic", "numpy", "pandas", "torch", "PIL", "mlflow", "prefect", "dvc")


def test_no_command_is_imported_with_a_heavy_library():
    code = f"import sys, atelier.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
