import os
from pathlib import Path

import pytest
from hypothesis import settings

from atelier.data import fashion_mnist
from atelier.errors import DataError
from tests.support import prefect_server

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


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder of this test run that all its workers share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PREFECT_API_URL of the test run's one server, for flows whose API is not the subject."""
    return prefect_server.api_of(shared_folder(tmp_path_factory) / "prefect-server")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The process that started the workers ends the server, after all of them."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None and "PYTEST_XDIST_WORKER" not in os.environ:
        prefect_server.stop(factory.getbasetemp() / "prefect-server")
