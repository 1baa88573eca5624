"""Where the tests find what belongs to the repository, and what lies beside it."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Benchmark images and weights; not part of the repository.
SHARED = Path(os.environ.get("ATELIER_SHARED", REPOSITORY.parent / "shared")) / "data"
EXAMPLE_FILE = Path(__file__).with_name("example_params.yaml")
