"""Real sets as people have them, where `../shared/data` is at hand.

Every picture is read, without a special case.
"""

from itertools import islice

import pytest

from atelier.data.sources.decoding import decode
from atelier.data.sources.opening import open_source
from atelier.data.sources.pictures import Encoded
from atelier.params import Dataset, Source
from tests.support.places import SHARED

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here")


@pytest.mark.parametrize(
    ("keys", "channels", "count", "num_classes", "splits"),
    [
        ({"source": "folder", "path": "bsds500_color"}, 3, 400, 0, {"train": 200, "test": 200}),
        ({"source": "folder", "path": "bsd400_gray180"}, 1, 400, 0, {None: 400}),
        (
            {
                "source": "archive",
                "path": "grocery64/train.zip",
                "labels": "train/labels.csv",
                "label_column": "fine",
            },
            3,
            2640,
            81,
            {"train": 2640},
        ),
        (
            {
                "source": "archive",
                "path": "grocery64/val.zip",
                "labels": "val/labels.csv",
                "label_column": "coarse",
            },
            3,
            296,
            37,
            {"validation": 296},
        ),
    ],
)
def test_every_picture_is_read(tmp_path, keys, channels, count, num_classes, splits):
    keys = {**keys, "path": str(SHARED / keys["path"])}
    items = list(open_source(tmp_path, Source(**keys)).items)
    assert len(items) == count
    assert len({item.class_name for item in items} - {None}) == num_classes
    assert {split: sum(item.split == split for item in items) for split in splits} == splits
    dataset = Dataset(**keys, channels=channels)
    for item in items:
        assert min(decode(item.read(), dataset).shape[:2]) >= 64


@pytest.mark.slow
def test_cifar_is_listed_whole_and_its_first_pictures_are_read(tmp_path):
    source = Source(source="archive", path=str(SHARED / "cifar10_jpeg" / "train.tar.xz"))
    opened = open_source(tmp_path, source)
    assert opened.num_items == 50_000
    dataset = Dataset(source="folder", path="x", channels=3, image_size=32)
    for item in islice(opened.items, 300):
        assert isinstance(item, Encoded)
        assert (item.class_name, item.split) == ("airplane", "train")
        assert decode(item.read(), dataset).shape == (32, 32, 3)
