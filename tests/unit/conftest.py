import os
import shutil
import tempfile
from contextlib import contextmanager

import pytest

from atelier.data import fashion_mnist
from atelier.data.idx import parse_idx, read_bytes
from atelier.data.pictures import Picture, Source
from atelier.data.staging import building, swap_in
from atelier.data.store import read_dataset
from atelier.data.writer import spool_images, write_dataset
from atelier.params import Dataset
from atelier.project import Project
from atelier.registry import Registry

# Read when mlflow is imported: no test may call home or wait for retries.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

FASHION = Dataset(source="fashion-mnist", image_size=28, channels=1, validation_fraction=0.2)


@pytest.fixture(scope="session")
def fashion(fashion_source, tmp_path_factory):
    """A stored dataset of 800 real images: 400 are the test split."""
    project = tmp_path_factory.mktemp("fashion")
    paths = [next(fashion_source.glob(f"t10k-{kind}-ubyte*")) for kind in ("images-idx3", "labels-idx1")]
    images_NHW, labels_N = (parse_idx(read_bytes(path), path.name) for path in paths)
    pictures = [
        Picture(f"{i:05d}", images_NHW[i, :, :, None], int(labels_N[i]), is_test=i % 2 == 0) for i in range(800)
    ]
    with building(project, "fashion") as new, tempfile.TemporaryFile(dir=new.parent) as spool:
        source = Source(fashion_mnist.CLASS_NAMES, iter(pictures))
        rows, rejected = spool_images(source.items, FASHION, spool)
        write_dataset(new, FASHION, source, "digest", rows, rejected, spool)
        swap_in(project, "fashion", new)
    return read_dataset(project, "fashion")


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
