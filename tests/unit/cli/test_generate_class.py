"""What `atelier generate --class` draws."""

import json

import pytest

from atelier.data.store import DatasetInfo
from atelier.errors import UsageError
from atelier.networks.generators import build_generator
from atelier.serving.bundle import write_bundle
from atelier.serving.classes import class_number
from atelier.training.session import Trained


@pytest.mark.parametrize("names", [["1", "2", "3", "4"], ["10", "01", "1"], ["Cat", "cat", "CAT"]])
def test_a_class_is_drawn_by_its_name_also_where_names_look_like_numbers(names):
    assert [class_number(name, names) for name in names] == list(range(len(names)))


def test_a_number_is_a_class_where_no_class_is_called_so():
    assert class_number("1", ["cat", "dog"]) == 1
    assert class_number("DOG", ["cat", "dog"]) == 1
    assert class_number("0", ["1", "2"]) == 0
    assert class_number(None, ["cat", "dog"]) == -1


@pytest.mark.parametrize(("num_classes", "names"), [(1, []), (2, ["cat", "dog"])])
def test_an_unconditional_gan_knows_no_classes_of_its_dataset(tmp_path, num_classes, names):
    config = {"name": "dcgan", "channels": 1, "image_size": 16, "width": 8, "latent_dim": 16}
    config["num_classes"] = num_classes
    trained = Trained(build_generator(**config).eval(), config, 0)
    info = DatasetInfo(16, 1, 2, ("cat", "dog"), {})
    bundle = write_bundle(tmp_path / "bundle", "gan", trained, info)
    stored = json.loads((bundle / "config.json").read_text())["class_names"]
    assert stored == names
    for wanted in {"cat", "0"} if not names else ():
        with pytest.raises(UsageError, match="is not a class of this model; its classes: none"):
            class_number(wanted, stored)
