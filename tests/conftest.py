from pathlib import Path

import pytest

from atelier.data import fashion_mnist
from atelier.errors import DataError

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
