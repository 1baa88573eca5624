import pytest

from tests.operate.stacked import new_stacked


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with pictures; whatever a test leaves running is ended."""
    made = new_stacked(tmp_path_factory.mktemp("stack"))
    yield made
    made.atelier("down", check=False)
    for process in made.processes():
        process.kill()
