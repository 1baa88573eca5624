"""Combinations of parameters that a restorer from unpaired pictures can't work with, and what is
said of them."""

import pytest

from atelier.errors import ConfigError
from atelier.params import load_params
from tests.support.places import EXAMPLE_FILE

EXAMPLE = EXAMPLE_FILE.read_text(encoding="utf-8")


def translation(source, dataset="fashion"):
    """A replacement that adds a model of that kind, which learns from `source`."""
    model = (
        f"\n  unpaired: {{kind: translation, dataset: {dataset}, {source}, network: {{name: cnn, width: 8, depth: 3}}, "
        "training: {kimg: 1, batch_size: 32, lr: 1e-3}}\n\nevaluation:"
    )
    return "\nevaluation:", model


NOISY = "degradation: [{noise: {sigma: 0.2}}]"
SCANS = (
    "\nmodels:",
    "  scans: {source: folder, path: raw, image_size: 28, channels: 1}\n\nmodels:",
)
UNPAIRED_GATE = (
    "restoration: {metric",
    "translation: {metric: kid_classifier}\n  restoration: {metric",
)


def load(folder, changes):
    """The example after some texts in it were replaced."""
    text = EXAMPLE
    for old, new in changes:
        assert old in text, f"the example has no {old!r} any more"
        text = text.replace(old, new, 1)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return load_params(folder / "params.yaml")


IMPOSSIBLE = [
    (
        [translation("degradation: [{downsample: {factor: 2}}]")],
        "models.unpaired.degradation.0: a translation keeps the size of its images, so it can't "
        "undo downsample. "
        "Remove it, or take kind: restoration.",
    ),
    (
        [translation("degradation: [{mask: {size: 28}}]")],
        "models.unpaired.degradation.0.mask.size = 28 must be smaller than "
        "datasets.fashion.image_size = 28.",
    ),
    (
        [translation(f"{NOISY}, data: {{limit: 63}}")],
        "models.unpaired.data.limit = 63 must not be smaller than 2 * training.batch_size = 64.",
    ),
    (
        [
            translation(NOISY),
            (
                "network: {name: cnn, width: 8, depth: 3}",
                "network: {noise_level: true, name: cnn, width: 8, depth: 3}",
            ),
        ],
        "models.unpaired.network.noise_level: nobody tells a translation the level of the noise. "
        "Remove it.",
    ),
    (
        [translation("degradation: [{noise: {sigma: 0.2}}], damaged: fashion")],
        "models.unpaired: a translation learns either from a dataset of damaged pictures or from a "
        "degradation: give "
        "exactly one of `damaged: DATASET` and `degradation: [...]`.",
    ),
    (
        [translation("data: {}")],
        "models.unpaired: a translation learns either from a dataset of damaged pictures or from a "
        "degradation: give "
        "exactly one of `damaged: DATASET` and `degradation: [...]`.",
    ),
    (
        [translation("damaged: scan"), SCANS, UNPAIRED_GATE],
        "models.unpaired.damaged = 'scan' is not another one of the datasets. Did you mean "
        "'scans'?",
    ),
    (
        [translation("damaged: fashion"), SCANS, UNPAIRED_GATE],
        "models.unpaired.damaged = 'fashion' is not another one of the datasets. Known: scans.",
    ),
    (
        [
            translation("damaged: scans"),
            (SCANS[0], SCANS[1].replace("28, channels: 1", "32, channels: 3")),
            UNPAIRED_GATE,
        ],
        [
            "models.unpaired.damaged: datasets.scans.channels = 3 must be that of the clean "
            "pictures, "
            "datasets.fashion.channels = 1.",
            "models.unpaired.damaged: datasets.scans.image_size = 32 must be that of the clean "
            "pictures, "
            "datasets.fashion.image_size = 28.",
        ],
    ),
    (
        [translation("damaged: fashion", dataset="scans"), SCANS, UNPAIRED_GATE],
        "models.unpaired.damaged: what is made of pictures without originals is scored on the "
        "features of "
        "evaluation.features, which learns 'fashion', not 'scans'. Train a classifier on 'scans' "
        "and name it "
        "there, or write efficientnet_lite0 or inception.",
    ),
    (
        [translation("damaged: scans"), SCANS],
        "models.unpaired.damaged: without originals there is no psnr, which promotion.translation "
        "asks for. Use "
        "fd_classifier or kid_classifier there.",
    ),
]


@pytest.mark.parametrize(
    ("changes", "expected"), IMPOSSIBLE, ids=[str(text)[:60] for _, text in IMPOSSIBLE]
)
def test_an_impossible_translation_is_refused_before_anything_runs(tmp_path, changes, expected):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, changes)
    found = [line.strip().removesuffix(".") for line in str(error.value).splitlines()[1:]]
    assert found == [
        line.removesuffix(".") for line in ([expected] if isinstance(expected, str) else expected)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        [translation(f"{NOISY}, data: {{limit: 64}}")],
        [translation("damaged: scans"), SCANS, UNPAIRED_GATE],
    ],
)
def test_a_translation_from_either_source_is_accepted(tmp_path, changes):
    model = load(tmp_path, changes).models["unpaired"]
    assert (model.adversarial.loss, model.adversarial.weight) == ("least-squares", 1.0)


def test_a_file_that_says_nothing_of_translations_has_a_gate_for_them(tmp_path):
    assert load(tmp_path, []).promotion.translation.metric == "psnr"
