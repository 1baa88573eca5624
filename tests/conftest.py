import os
from pathlib import Path

import pytest
from hypothesis import settings

from atelier.data import fashion_mnist
from atelier.errors import DataError

settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def fashion_source() -> Path:
    """A folder that holds the real Fashion-MNIST files, fetched into the repository's own cache if need be."""
    cache = REPOSITORY / ".atelier" / "sources" / "fashion-mnist"
    try:
        fashion_mnist.read_files(REPOSITORY, None)
    except DataError as error:
        pytest.skip(f"Fashion-MNIST can't be had here: {error}")
    return cache if cache.is_dir() else Path("/") / fashion_mnist.DEBIAN_FOLDER
