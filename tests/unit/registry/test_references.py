import pytest
import torch

from atelier.data.store import DatasetInfo
from atelier.errors import RegistryError, UsageError
from atelier.networks.restorers import build_restorer
from atelier.registry import CHALLENGER, CHAMPION, PREVIOUS
from atelier.registry.versions import OURS
from atelier.serving.bundle import write_bundle
from atelier.training.session import Trained

pytestmark = pytest.mark.service

MODEL = "fashion-denoise"


@pytest.fixture(scope="module")
def fresh(registry, tmp_path_factory):
    """Four versions of a tiny restorer, of which 2 is champion and 1 previous, and a model without
    any version."""
    torch.manual_seed(0)
    config = {"name": "cnn", "channels": 1, "width": 4, "depth": 2}
    trained = Trained(build_restorer(**config).eval(), config, 0)
    info = DatasetInfo(28, 1, 0, (), {"train": 1, "validation": 1, "test": 1})
    bundle = write_bundle(
        tmp_path_factory.mktemp("references") / "bundle", "restoration", trained, info
    )
    first = registry.register(
        MODEL, registry.runs.start(MODEL, "f1", {}), bundle, {"fingerprint": "f1"}
    )
    for number in (2, 3, 4):  # the bundle is logged once: that takes seconds
        run_id = registry.runs.start(MODEL, f"f{number}", {})
        registry._client.create_model_version(MODEL, f"runs:/{first.run_id}/x", run_id)
    registry._client.create_registered_model("fashion-empty", tags=OURS)
    registry.delete_alias(MODEL, CHALLENGER)
    registry.set_alias(MODEL, PREVIOUS, 1)
    registry.set_alias(MODEL, CHAMPION, 2)
    return registry


def test_a_reference_is_a_name_an_alias_or_a_number(fresh):
    references = (MODEL, f"{MODEL}@champion", f"{MODEL}@previous", f"{MODEL}/3", f"{MODEL}@")
    assert [fresh.resolve(reference).number for reference in references] == [2, 2, 1, 3, 2]
    assert fresh.version_at(MODEL, CHALLENGER) is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (
            "fashion-denoize",
            r"no model 'fashion-denoize' is registered\. Did you mean 'fashion-denoise'\?",
        ),
        (
            "fashion-denoise@champoin",
            r"has no champoin; its aliases: champion, previous\. Name a version",
        ),
        ("fashion-denoise/9", r"fashion-denoise has no version 9; its versions: 1, 2, 3, 4\. See"),
        (
            "fashion-denoise/one",
            r"'fashion-denoise/one' is not a model: write NAME, NAME@ALIAS or NAME/VERSION\.",
        ),
        ("fashion-denoise/-1", r"write NAME, NAME@ALIAS or NAME/VERSION"),
        ("fashion-denoise/", r"write NAME, NAME@ALIAS or NAME/VERSION"),
        ("fashion-denoise@champion/1", r"write NAME, NAME@ALIAS or NAME/VERSION"),
        ("fashion-empty", r"fashion-empty has no champion; its aliases: none\."),
        ("", r"no model '' is registered\. Known: fashion-denoise, fashion-empty"),
        ("it's", r"no model \"it's\" is registered"),
    ],
)
def test_a_reference_that_names_nothing_is_refused(fresh, reference, expected):
    with pytest.raises(UsageError, match=expected):
        fresh.resolve(reference)


def test_more_models_than_mlflow_lists_on_one_page_are_all_known_and_strangers_left_alone(fresh):
    for number in range(101):
        fresh._client.create_registered_model(f"many-{number:03d}", tags=OURS)
    for name in ("o'brien's", 'the "best"', "Fashion-Denoise"):
        fresh._client.create_registered_model(name)
    fresh._client.create_model_version("o'brien's", "s3://elsewhere/model")
    assert len(fresh.model_names()) == 103
    with pytest.raises(RegistryError, match="a model \"o'brien's\" that Atelier did not make"):
        fresh.versions("o'brien's")
