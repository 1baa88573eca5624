"""A folder of small pictures of noise, in two classes, for tests of the ingest."""

import numpy as np
from PIL import Image

from atelier.data.store import LOCAL_NOTES
from atelier.params import Dataset

PHOTOS = Dataset(
    source="folder",
    path="raw",
    image_size=16,
    channels=3,
    test_fraction=0.25,
    validation_fraction=0.25,
    max_quarantined=0.5,
)
OWN_SIZE = PHOTOS.model_copy(update={"image_size": None, "min_size": 16})


def picture(seed, height=16, width=16):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def fill(folder, numbers=range(40)):
    """Forty pictures in two classes; two of them outside of every class."""
    for number in numbers:
        path = (
            folder
            / ("", "cat", "dog")[0 if number % 100 >= 38 else 1 + number % 2]
            / f"{number:02d}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, 16 + number % 3)).save(path)


def versioned(project, name="photos"):
    """Contents of the files that data.dvc counts."""
    folder = project / "data" / name
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name not in LOCAL_NOTES
    }
