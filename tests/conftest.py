import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from atelier.data.sources import fashion_mnist
from atelier.errors import DataError
from tests.support import prefect_server
from tests.support.places import REPOSITORY

settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# As `--durations` shows them. A worker takes whole files, so a long one at the end is waited for.
LONGEST_FILES = (
    "flows/test_reconcile.py",
    "flows/test_tutorial.py",
    "flows/test_reproduction.py",
    "flows/test_stopped_trainings.py",
    "flows/test_several_devices.py",
    "unit/promotion/test_promotion.py",
    "unit/cli/test_mistakes.py",
    "flows/test_remotes.py",
    "unit/data/test_versions.py",
    "unit/training/test_loops.py",
    "flows/test_data_commands.py",
    "unit/factory/test_built_from.py",
    "unit/training/test_hopeless.py",
    "unit/promotion/test_gate.py",
    "unit/review/test_report_gathering.py",
    "unit/evaluation/test_evaluation.py",
)


@pytest.fixture(autouse=True)
def _same_weights_each_time() -> None:
    """A test's random weights don't depend on the tests that ran before it in its process."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def fashion_source() -> Path:
    """A folder that holds the real Fashion-MNIST files, fetched into the repository's own cache if
    need be."""
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the others stay in their order."""
    places = {REPOSITORY / "tests" / name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The process that started the workers ends the server, after all of them."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None and "PYTEST_XDIST_WORKER" not in os.environ:
        prefect_server.stop(factory.getbasetemp() / "prefect-server")
