import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from atelier.service.app import Service, build_app
from atelier.service.fleet import Fleet
from atelier.service.limits import Limits
from atelier.service.sightings import Sightings
from tests.support.browser import open_browser
from tests.support.devtools import open_tab
from tests.support.live_service import live_service
from tests.support.served import COLOUR, ENLARGE, GAN, GREY, let_answer, register

MODELS = {
    "grey": ("restoration", GREY),
    "colour": ("restoration", COLOUR),
    "enlarge": ("restoration", ENLARGE),
    "clothes": ("gan", GAN),
}


@pytest.fixture(scope="module")
def champions(registry, tmp_path_factory):
    """A registry with a champion of each kind that is served."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, (kind, config) in MODELS.items():
        let_answer(registry, name, register(registry, folder, name, kind, config))
    return registry


@pytest.fixture
def serve(champions, tmp_path):
    """A client of a service, by its limits and references."""
    clients = []

    def started(*references, share=0.0, **limits):
        fleet = Fleet(champions, references, lambda news: None)
        fleet.open()
        service = Service(fleet, Limits(**limits), Sightings(tmp_path / "requests", share))
        client = TestClient(build_app(service), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        client.service = service
        return client

    yield started
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve):
    return serve()


@pytest.fixture(scope="session")
def encode():
    """The bytes of a random picture, by its mode and size."""

    def encoded(mode="L", size=(40, 30), file_format="PNG", **options):
        shape = (size[1], size[0], len(Image.new(mode, (1, 1)).getbands()))
        values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        image = Image.fromarray(values.squeeze(-1) if shape[2] == 1 else values, mode)
        content = io.BytesIO()
        image.save(content, file_format, **options)
        return content.getvalue()

    return encoded


@pytest.fixture(scope="module")
def address(champions, tmp_path_factory):
    """Of a service with all champions, on a real socket."""
    with live_service(champions, tmp_path_factory.mktemp("service")) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A real one."""
    with open_browser(tmp_path_factory.mktemp("unused")) as browser:
        yield browser


@pytest.fixture(scope="module")
def window(browser, address, tmp_path_factory):
    """A tab that reaches the service and nobody else."""
    with open_tab(browser, tmp_path_factory.mktemp("profile"), address) as tab:
        yield tab


@pytest.fixture
def tab(window):
    """A window of ordinary size, with nothing in it and nothing complained of yet."""
    window.open("about:blank")
    window.resize(1100, 900)
    window.requests.clear()
    window.complaints.clear()
    return window


@pytest.fixture
def picture_file(encode, tmp_path):
    """The file of a random picture, by its name and what `encode` takes."""

    def written(name, *form, **options):
        path = tmp_path / name
        path.write_bytes(encode(*form, **options))
        return path

    return written
