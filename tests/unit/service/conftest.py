import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from atelier.service.app import Limits, Service, build_app
from atelier.service.fleet import Fleet
from atelier.service.sightings import Sightings
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
