"""Models that are built from another one or compared with one.

What is refused, and in which order they are made.
"""

import pytest

from atelier.errors import ConfigError
from atelier.params import load_params
from atelier.params.references import Reference, in_order, source_of
from tests.support.places import EXAMPLE_FILE

EXAMPLE = EXAMPLE_FILE.read_text(encoding="utf-8")
DENOISE, INPAINT, GAN = "degradation: [{noise", "degradation: [{mask", "loss: relativistic"
PHOTOS = (
    "\nmodels:",
    "  photos: {source: folder, path: raw, image_size: 28, channels: 3}\n\nmodels:",
)


def denoise(keys):
    """A replacement that gives the restorer these keys too."""
    return DENOISE, f"{keys}\n    {DENOISE}"


def extend(value):
    return denoise(f"data: {{extend: {value}}}")


def refine(reference):
    return GAN, f"refine: {reference}\n    {GAN}"


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
        [extend("fashion-inpaint")],
        "models.fashion-denoise.data.extend.gan: 'fashion-inpaint' is a restoration model, not a "
        "GAN. "
        "Known: fashion-gan.",
    ),
    (
        [extend("{gan: fashion-gan, images: 0}")],
        "models.fashion-denoise.data.extend.images = 0: should be greater than or equal to 1.",
    ),
    (
        [extend("{gan: fashion-gan, count: 5}")],
        "models.fashion-denoise.data.extend.count: unknown key. Known: gan, images.",
    ),
    (
        [extend("fashion-gan@champion/3")],
        "models.fashion-denoise.data.extend.gan = 'fashion-gan@champion/3' does not match "
        "^[a-z0-9][a-z0-9-]*(@[a-z][a-z0-9-]*|/[1-9][0-9]*)?$.",
    ),
    (
        [
            extend("fashion-gan"),
            PHOTOS,
            ("restoration\n    dataset: fashion", "restoration\n    dataset: photos"),
        ],
        "models.fashion-denoise.data.extend.gan: 'fashion-gan' learns 'fashion', this model "
        "'photos'. Name a GAN of "
        "the same dataset: another one's images may differ in size, or show what is test data "
        "here.",
    ),
    (
        [
            extend("some-gan"),
            (PHOTOS[0], PHOTOS[1].replace("image_size: 28, ", "")),
            ("restoration\n    dataset: fashion", "restoration\n    dataset: photos"),
            ("lr: 2e-3", "crop_size: 32, lr: 2e-3"),
        ],
        "models.fashion-denoise.data.extend: a GAN draws images of one size. Add "
        "datasets.photos.image_size, or remove "
        "it.",
    ),
    (
        [
            extend("fashion-gan"),
            (INPAINT, f"data: {{extend: fashion-gan}}\n    {INPAINT}"),
            refine("fashion-denoise"),
        ],
        "models.fashion-gan: each of fashion-gan -> fashion-denoise -> fashion-gan would have to "
        "be made before "
        "itself. Name a version instead of an alias (fashion-denoise/1), or remove one of their "
        "`extend`, `refine` and "
        "`compare_with`.",
    ),
    (
        [("kind: classification", "data: {extend: fashion-gan}\n    kind: classification")],
        "models.fashion-classifier.data.extend: unknown key. Known: limit.",
    ),
    (
        [refine("fashion-classifier")],
        "models.fashion-gan.refine: 'fashion-classifier' is a classification model, not a "
        "restorer. "
        "Known: fashion-denoise, fashion-inpaint.",
    ),
    (
        [refine("fashion-denoise"), ("[{noise: {sigma: 0.2}}]", "[{downsample: {factor: 2}}]")],
        "models.fashion-gan.refine: 'fashion-denoise' undoes downsample, so it would enlarge the "
        "images. Name a "
        "restorer that keeps them.",
    ),
    (
        [
            refine("fashion-denoise"),
            PHOTOS,
            ("restoration\n    dataset: fashion", "restoration\n    dataset: photos"),
        ],
        "models.fashion-gan.refine: 'fashion-denoise' restores images of datasets.photos.channels "
        "= 3, the GAN draws "
        "images of datasets.fashion.channels = 1. Name a restorer of the same channels.",
    ),
    (
        [denoise("compare_with: fashion-denoise")],
        "models.fashion-denoise.compare_with = 'fashion-denoise' is not another restoration model "
        "of this file. "
        "Known: fashion-inpaint.",
    ),
    (
        [denoise("compare_with: fashion-gan")],
        "models.fashion-denoise.compare_with = 'fashion-gan' is not another restoration model of "
        "this file. "
        "Known: fashion-inpaint.",
    ),
    (
        [denoise("compare_with: fashion-inpaint")],
        "models.fashion-denoise.compare_with: 'fashion-inpaint' restores something else. Both need "
        "the same dataset "
        "and degradation.",
    ),
]


@pytest.mark.parametrize(
    ("changes", "expected"), IMPOSSIBLE, ids=[text[:60] for _, text in IMPOSSIBLE]
)
def test_a_reference_that_can_not_serve_is_refused_before_anything_runs(
    tmp_path, changes, expected
):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, changes)
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == [expected]


@pytest.mark.parametrize(
    "reference", ["fashion-gan", "fashion-gan@champion", "fashion-gan/3", "of-the-registry"]
)
def test_the_short_form_names_the_gan_alone(tmp_path, reference):
    short = load(tmp_path, [extend(reference)]).models["fashion-denoise"]
    long = load(tmp_path, [extend(f"{{gan: {reference}}}")]).models["fashion-denoise"]
    assert short == long
    assert (short.data.extend.images, short.data.limit) == (None, None)
    assert source_of(short) == Reference.parse(reference)
    assert str(source_of(short)) == reference
    assert Reference.parse(reference).model in ("fashion-gan", "of-the-registry")


def test_every_model_comes_after_those_that_it_needs(tmp_path):
    twin = "\n  twin: {kind: restoration, dataset: fashion, degradation: [{noise: {sigma: 0.2}}], loss: l2, "
    twin += "network: {name: cnn, width: 8, depth: 3}, compare_with: fashion-denoise, data: {extend: fashion-gan}, "
    twin += "training: {kimg: 1, batch_size: 8, lr: 1e-3}}\n\nevaluation:"
    params = load(tmp_path, [refine("fashion-inpaint"), ("\nevaluation:", twin)])
    assert in_order(params, ["twin"]) == [
        "fashion-inpaint",
        "fashion-gan",
        "fashion-denoise",
        "twin",
    ]
    assert in_order(params, ["fashion-gan"]) == ["fashion-inpaint", "fashion-gan"]
    assert in_order(params, list(params.models)) == [
        *("fashion-classifier", "fashion-inpaint", "fashion-gan", "fashion-denoise", "twin"),
    ]


def test_a_version_by_its_number_needs_nothing_first(tmp_path):
    params = load(
        tmp_path, [extend("fashion-gan/1"), refine("fashion-denoise/1")]
    )  # no circle: both are what they are
    assert in_order(params, ["fashion-denoise"]) == ["fashion-denoise"]
