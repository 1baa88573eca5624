import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from atelier.data import fashion_mnist
from atelier.errors import DataError

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def own_environment() -> Iterator[None]:
    """Each file's tests start pointed at no Prefect, MLflow or DVC, and leave nothing to those of the next file."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("PREFECT_", "MLFLOW_", "DVC_")):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def fashion_source() -> Path:
    """A folder that holds the real Fashion-MNIST files, fetched into the repository's own cache if need be."""
    cache = REPOSITORY / ".atelier" / "sources" / "fashion-mnist"
    try:
        fashion_mnist.read_files(REPOSITORY, None)
    except DataError as error:
        pytest.skip(f"Fashion-MNIST can't be had here: {error}")
    return cache if cache.is_dir() else Path("/") / fashion_mnist.DEBIAN_FOLDER
