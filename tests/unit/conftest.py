import os
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import skimage.data

from atelier.data.sources import fashion_mnist
from atelier.data.sources.idx import parse_idx, read_bytes
from atelier.data.sources.pictures import content_hash
from atelier.data.splits import split_of
from atelier.params import Dataset, Source
from atelier.project import Project
from atelier.registry import Registry
from tests.support.stored import store_pictures

# Read when mlflow is imported: no test may call home or wait for retries.
os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

FASHION = Dataset(
    sources=(Source(source="fashion-mnist"),), image_size=28, channels=1, validation_fraction=0.2
)
PHOTOS = Dataset(sources=(Source(source="folder", path="raw"),), channels=3, min_size=40)


@pytest.fixture(scope="session")
def fashion(fashion_source, tmp_path_factory):
    """A stored dataset of 800 real images: 400 are the test split."""
    paths = [
        next(fashion_source.glob(f"t10k-{kind}-ubyte*")) for kind in ("images-idx3", "labels-idx1")
    ]
    images_NHW, labels_N = (parse_idx(read_bytes(path), path.name) for path in paths)
    names = fashion_mnist.CLASS_NAMES
    pictures = []
    for i in range(800):
        pixels_HWC = images_NHW[i, :, :, None]
        split = (
            "test"
            if i % 2 == 0
            else split_of(content_hash(pixels_HWC), 0.0, FASHION.validation_fraction)
        )
        pictures.append((pixels_HWC, names[labels_N[i]], split))
    return store_pictures(tmp_path_factory.mktemp("fashion"), "fashion", FASHION, pictures, names)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A stored dataset of 60 pieces of real colour photographs, each with a size of its own; 18 are
    the test split."""
    rng = np.random.default_rng(0)
    sources = [
        skimage.data.astronaut(),
        skimage.data.chelsea(),
        skimage.data.coffee(),
        skimage.data.rocket(),
    ]
    pictures = []
    for i in range(60):
        whole, (height, width) = sources[i % 4], rng.integers(40, 90, 2)
        top, left = (
            rng.integers(0, whole.shape[0] - height),
            rng.integers(0, whole.shape[1] - width),
        )
        split = ("train", "train", "test")[i % 3] if i % 10 else "validation"
        pictures.append(
            (np.ascontiguousarray(whole[top : top + height, left : left + width]), "", split)
        )
    return store_pictures(tmp_path_factory.mktemp("photos"), "photos", PHOTOS, pictures)


@pytest.fixture(scope="session")
def tracking_at():
    """`with tracking_at(uri):` points MLflow there, and back again."""
    return _tracking_at


@contextmanager
def _tracking_at(uri):
    """MLflow's tracking server for a while; nothing of it is left behind for other tests."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # mlflow leaves it where tracking_at was nested
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory):
    """An empty MLflow database; copies of it spare each module the migrations."""
    project = Project(tmp_path_factory.mktemp("database"))
    with _tracking_at(f"sqlite:///{project.root / 'mlflow.db'}"):
        Registry(project)
    return project.root / "mlflow.db"


@pytest.fixture(scope="module")
def registry(migrated_database, tmp_path_factory):
    """A real MLflow in a folder of this module's own."""
    project = Project(tmp_path_factory.mktemp("registry"))
    shutil.copy(migrated_database, project.root / "mlflow.db")
    with _tracking_at(f"sqlite:///{project.root / 'mlflow.db'}"):
        yield Registry(project)
