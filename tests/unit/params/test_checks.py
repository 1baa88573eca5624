import ast
import inspect
import json
import re
from typing import get_args

import numpy as np
import pytest
import torch

from atelier import params as records
from atelier.data.sources.decoding import fit_pixels
from atelier.degradations import STEPS
from atelier.errors import ConfigError
from atelier.factory.fingerprint import TRAINING_MODULES, module_hashes
from atelier.metrics.directions import higher_is_better
from atelier.networks.classifiers import CLASSIFIERS
from atelier.networks.discriminators import DISCRIMINATORS
from atelier.networks.generators import GENERATORS
from atelier.networks.restorers import RESTORERS
from atelier.params import Gate, Record, load_params
from atelier.params.extractors import NUM_FEATURES
from atelier.params.measures import metrics
from atelier.promotion.gate import floor_failures
from tests.support.places import EXAMPLE_FILE, REPOSITORY

EXAMPLE = EXAMPLE_FILE.read_text(encoding="utf-8")
PHOTOS = "\n  photos: {source: folder, path: raw, image_size: 64, channels: 3}\n\nmodels:"

OWN_SIZE = [
    ("\nmodels:", PHOTOS.replace("image_size: 64, ", "")),
    ("kind: restoration\n    dataset: fashion", "kind: restoration\n    dataset: photos"),
]
FASHION_GAN = "loss: relativistic"
PROGRESSIVE = [
    ("generator: {name: dcgan", "generator: {name: progressive"),
    ("discriminator: {name: dcgan", "discriminator: {name: progressive"),
]


@pytest.fixture
def problems(tmp_path):
    """The mistakes that are found in the example after some texts in it were replaced."""

    def problems_after(*replacements):
        text = EXAMPLE
        for old, new in replacements:
            assert old in text, f"the example has no {old!r} any more"
            text = text.replace(old, new, 1)
        (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            load_params(tmp_path / "params.yaml")
        return [line.removeprefix("  ") for line in str(error.value).splitlines()[1:]]

    return problems_after


IMPOSSIBLE = [
    (
        [("kind: restoration\n    dataset: fashion", "kind: restoration\n    dataset: fashon")],
        "models.fashion-denoise.dataset = 'fashon' is not one of the datasets. Did you mean "
        "'fashion'?",
    ),
    (
        [("confidence: 0.95", "confidence: 0.95\n  pixels: {border: 9}")],
        "evaluation.pixels.border = 9 leaves 10 of 28 pixels of test images of datasets.fashion, "
        "SSIM needs 11. Lower "
        "it to 8 or less.",
    ),
    (
        [
            *OWN_SIZE,
            ("confidence: 0.95", "confidence: 0.95\n  max_side: 64\n  pixels: {border: 27}"),
            ("image_size: 28", "image_size: 68"),
            ("lr: 2e-3", "crop_size: 16, lr: 2e-3"),
        ],
        "evaluation.pixels.border = 27 leaves 10 of 64 pixels of test images of datasets.photos, "
        "SSIM needs 11. Lower "
        "it to 26 or less.",
    ),
    (
        [("floors: {psnr_gain: 0.0}", "floors: {ms_ssim: 0.8}")],
        "promotion.restoration: ms_ssim needs images of 161 pixels without the border, those of "
        "datasets.fashion have "
        "28. Use ssim.",
    ),
    (
        [("restoration: {metric: psnr", "restoration: {metric: lpips")],
        "promotion.restoration: lpips is measured only with weights. Give evaluation.lpips a path "
        "and its sha256, or "
        "use another metric.",
    ),
    (
        [
            (FASHION_GAN, f"sampling: {{confidence: 0.5}}\n    {FASHION_GAN}"),
            ("features: classifier:fashion-classifier", "features: inception"),
            ("{metric: kid_classifier, floors: {class_balance: 0.9, cas: 0.5}}", "{metric: fid}"),
        ],
        "models.fashion-gan.sampling.confidence = 0.5: evaluation.features names nothing that "
        "tells the classes apart. Name a classifier there (classifier:MODEL), or remove it.",
    ),
    (
        [
            (
                FASHION_GAN,
                f"sampling: {{confidence: 0.5}}\n    conditional: false\n    {FASHION_GAN}",
            )
        ],
        "models.fashion-gan.sampling.confidence = 0.5: with conditional = false no class is asked "
        "for, so none can be doubted. Remove one of the two.",
    ),
    (
        [
            *PROGRESSIVE,
            ("image_size: 28", "image_size: 32"),
            (FASHION_GAN, f"sampling: {{spread: 1.5}}\n    {FASHION_GAN}"),
        ],
        "models.fashion-gan.sampling.spread = 1.5: the generator 'progressive' divides latents by "
        "their length, so it has no effect. Remove it.",
    ),
    (
        [("classifier:fashion-classifier", "classifier:fashion-clasifier")],
        "evaluation.features: 'fashion-clasifier' is not a classification model of this file. "
        "Did you mean 'fashion-classifier'?",
    ),
    (
        [("classifier:fashion-classifier", "classifier:fashion-gan")],
        "evaluation.features: 'fashion-gan' is not a classification model of this file. "
        "Did you mean 'fashion-classifier'?",
    ),
    (
        [
            ("\nmodels:", PHOTOS),
            ("kind: gan\n    dataset: fashion", "kind: gan\n    dataset: photos"),
        ],
        "models.fashion-gan: a GAN is scored on the features of evaluation.features, which learns "
        "'fashion', not "
        "'photos'. Train a classifier on 'photos' and name it there, or write efficientnet_lite0 "
        "or inception.",
    ),
    (
        [("image_size: 28", "image_size: 30")],
        "models.fashion-gan: the generator doubles its resolution twice, so "
        "datasets.fashion.image_size = 30 must be "
        "a multiple of 4.",
    ),
    (
        PROGRESSIVE,
        "models.fashion-gan: a progressive GAN doubles its resolution from 8 pixels on, so "
        "datasets.fashion.image_size "
        "= 28 must be 16, 32, 64, 128 or 256. Set it to 32, and datasets.fashion.min_size to 28: "
        "smaller pictures are "
        "enlarged.",
    ),
    (
        [*PROGRESSIVE, ("image_size: 28", "min_size: 20, image_size: 30")],
        "models.fashion-gan: a progressive GAN doubles its resolution from 8 pixels on, so "
        "datasets.fashion.image_size "
        "= 30 must be 16, 32, 64, 128 or 256. Set it to 32.",
    ),
    (
        [*PROGRESSIVE, ("image_size: 28", "image_size: 40")],
        "models.fashion-gan: a progressive GAN doubles its resolution from 8 pixels on, so "
        "datasets.fashion.image_size "
        "= 40 must be 16, 32, 64, 128 or 256. Set it to 32.",
    ),
    *(
        (
            [one, ("image_size: 28", "image_size: 32")],
            f"models.fashion-gan: the generator {names[0]!r} and the discriminator {names[1]!r} "
            "can't grow together. "
            "Name 'progressive' in both, or in neither.",
        )
        for one, names in zip(
            PROGRESSIVE, [("progressive", "dcgan"), ("dcgan", "progressive")], strict=True
        )
    ),
    (
        [
            (
                "{mask: {size: 12}}]\n    network: {",
                "{mask: {size: 12}}]\n    network: {noise_level: true, ",
            )
        ],
        "models.fashion-inpaint.network.noise_level: the level is known only where `noise` is the "
        "last step. Remove it",
    ),
    (
        [("{mask: {size: 12}}", "{mask: {size: 28}}")],
        "models.fashion-inpaint.degradation.0.mask.size = 28 must be smaller than "
        "datasets.fashion.image_size = 28.",
    ),
    (
        [("{mask: {size: 12}}", "{mask: {size: [4, 28], count: 2}}")],
        "models.fashion-inpaint.degradation.0.mask.size = [4, 28] must be smaller than "
        "datasets.fashion.image_size = "
        "28.",
    ),
    (
        [("{mask: {size: 12}}", "{strokes: {width: 28}}")],
        "models.fashion-inpaint.degradation.0.strokes.width = 28.0 must be smaller than "
        "datasets.fashion.image_size = "
        "28.",
    ),
    (
        [("{noise: {sigma: 0.2}}", "{decolourise: {}}")],
        "models.fashion-denoise.degradation.0: decolourise changes nothing, because "
        "datasets.fashion.channels = 1. "
        "Remove it.",
    ),
    (
        [("{noise: {sigma: 0.2}}", "{downsample: {factor: 3}}")],
        "models.fashion-denoise.degradation.0.downsample.factor = 3 must divide "
        "datasets.fashion.image_size = 28.",
    ),
    (
        [("{noise: {sigma: 0.2}}", "{downsample: {factor: 2}}, {noise: {sigma: 0.2}}")],
        "models.fashion-denoise.degradation.0: downsample must be the last step. Move it to the "
        "end.",
    ),
    (
        [
            ("\nmodels:", PHOTOS.replace("64", "65")),
            ("kind: restoration\n    dataset: fashion", "kind: restoration\n    dataset: photos"),
            ("{noise: {sigma: 0.2}}", "{noise: {sigma: 0.2}}, {downsample: {factor: 2}}"),
        ],
        "models.fashion-denoise.degradation.1.downsample.factor = 2 must divide "
        "datasets.photos.image_size = 65.",
    ),
    (
        [("metric: psnr", "metric: pnsr")],
        "promotion.restoration.metric: 'pnsr' is not measured there. Did you mean 'psnr'?",
    ),
    (
        [("{accuracy: 0.85}", "{acuracy: 0.85}")],
        "promotion.classification.floors.acuracy: 'acuracy' is not measured there. Did you mean "
        "'accuracy'?",
    ),
    (
        [
            (
                "{source: fashion-mnist, image_size: 28, channels: 1}",
                "{source: folder, path: raw, channels: 1}",
            )
        ],
        [
            "models.fashion-classifier: a classifier needs images of one size. Add "
            "datasets.fashion.image_size.",
            "models.fashion-gan: a GAN needs images of one size. Add datasets.fashion.image_size.",
        ],
    ),
    (
        [("kimg: 500", "kimg: 500, crop_size: 16")],
        "models.fashion-gan.training.crop_size: a GAN learns whole images. Remove it, or lower "
        "datasets.fashion.image_size.",
    ),
    (
        [("kimg: 300", "kimg: 300, crop_size: 29")],
        "models.fashion-classifier.training.crop_size = 29 must not be larger than "
        "datasets.fashion.image_size = 28.",
    ),
    (
        [*OWN_SIZE, ("lr: 2e-3", "crop_size: 65, lr: 2e-3")],
        "models.fashion-denoise.training.crop_size = 65 must not be larger than "
        "datasets.photos.min_size = 64.",
    ),
    (
        [
            *OWN_SIZE,
            ("lr: 2e-3", "crop_size: 33, lr: 2e-3"),
            ("{noise: {sigma: 0.2}}", "{downsample: {factor: 2}}"),
        ],
        "models.fashion-denoise.degradation.0.downsample.factor = 2 must divide training.crop_size "
        "= 33.",
    ),
    (
        [
            *OWN_SIZE,
            ("lr: 2e-3", "crop_size: 32, lr: 2e-3"),
            ("{noise: {sigma: 0.2}}", "{mask: {size: 32}}"),
        ],
        "models.fashion-denoise.degradation.0.mask.size = 32 must be smaller than "
        "training.crop_size = 32.",
    ),
    (
        [
            *OWN_SIZE,
            ("lr: 2e-3", "crop_size: 64, lr: 2e-3"),
            ("{noise: {sigma: 0.2}}", "{mask: {size: 63}}"),
            ("confidence:", "max_side: 63\n  confidence:"),
        ],
        "models.fashion-denoise.degradation.0.mask.size = 63 must be smaller than "
        "evaluation.max_side = 63.",
    ),
    (
        [("augment: {flip: true}", "augment: {crop: 28}")],
        "models.fashion-classifier.training.augment.crop = 28 must be smaller than "
        "datasets.fashion.image_size = 28.",
    ),
    (
        [("augment: {flip: true}", "crop_size: 20, augment: {cutout: 20}")],
        "models.fashion-classifier.training.augment.cutout = 20 must be smaller than "
        "training.crop_size = 20.",
    ),
    (
        [
            (
                "kimg: 500",
                "kimg: 500, augment: {flip: true, quarter_turns: true, rotate: 5, crop: 2, cutout: "
                "4}",
            )
        ],
        [
            f"models.fashion-gan.training.augment.{name}: a GAN learns to draw what it is shown, "
            "so its images would "
            "be changed alike. Remove it; a GAN can only flip."
            for name in ("quarter_turns", "rotate", "crop", "cutout")
        ],
    ),
    (
        [
            ("kimg: 300", "kimg: 300"),
            (
                "network: {name: cnn, width: 24}",
                "data: {limit: 127}\n    network: {name: cnn, width: 24}",
            ),
        ],
        "models.fashion-classifier.data.limit = 127 must not be smaller than training.batch_size = "
        "128.",
    ),
    (
        [("metric: kid_classifier", "metric: psnr")],
        "promotion.gan.metric: 'psnr' is not measured there. Known: fd_classifier, kid_classifier, "
        "precision_classifier, recall_classifier, density_classifier, coverage_classifier, "
        "memorisation, "
        "is_classifier, class_balance, rarest_class, class_accuracy, cas",
    ),
]


FEATURES = "features: classifier:fashion-classifier"
OTHER_FEATURES = [
    (
        [(FEATURES, "features: classifier:fashion-clasifier/2")],
        "evaluation.features: 'fashion-clasifier' is not a classification model of this file. "
        "Did you mean 'fashion-classifier'?",
    ),
    *(
        (
            [(FEATURES, f"features: {given}")],
            f"evaluation.features: {given!r} is none of classifier:MODEL, "
            "classifier:MODEL/VERSION, efficientnet_lite0 "
            "and inception.",
        )
        for given in ("efficientnet", "classifier:a/0", "classifier:a@champion")
    ),
    (
        [(FEATURES, "features: inception")],
        [
            f"promotion.gan.{key}: {metric!r} is not measured with evaluation.features = "
            "inception. Measured are: fid, "
            "kid_inception, precision_inception, recall_inception, density_inception, "
            "coverage_inception, memorisation."
            for key, metric in (
                ("metric", "kid_classifier"),
                ("floors.class_balance", "class_balance"),
                ("floors.cas", "cas"),
            )
        ],
    ),
    (
        [
            (FEATURES, "features: efficientnet_lite0"),
            ("num_images: 10000", "num_images: 1280"),
            (
                "{metric: kid_classifier, floors: {class_balance: 0.9, cas: 0.5}}",
                "{metric: fd_efficientnet}",
            ),
        ],
        "promotion.gan.metric: 'fd_efficientnet' needs more images than efficientnet_lite0 has "
        "features, 1280, but "
        "evaluation.num_images = 1280. Raise it, or use kid_efficientnet.",
    ),
    (
        [
            (
                FEATURES,
                FEATURES + "\n  efficientnet_side: 96\n  inception: {path: weights/inception.pt}",
            )
        ],
        [
            f"evaluation.{key}: evaluation.features names another extractor, so it has no effect. "
            "Remove it."
            for key in ("efficientnet_side", "inception")
        ],
    ),
    (
        [(FEATURES, "features: inception\n  inception: {sha256: abc}")],
        "evaluation.inception.sha256 = 'abc' does not match ^[0-9a-f]{64}$.",
    ),
    (
        [
            ("floors: {psnr_gain: 0.0}", "floors: {accuracy_gain: 0.0}"),
            (FEATURES, "features: efficientnet_lite0"),
            (
                "gan: {metric: kid_classifier, floors: {class_balance: 0.9, cas: 0.5}}",
                "gan: {metric: kid_efficientnet}",
            ),
        ],
        "promotion.restoration.floors.accuracy_gain: 'accuracy_gain' is not measured with "
        "evaluation.features = "
        "efficientnet_lite0. Measured are: mse, psnr, ssim, ms_ssim, lpips, psnr_gain.",
    ),
]


@pytest.mark.parametrize(("replacements", "expected"), OTHER_FEATURES)
def test_extractors_that_cant_serve_are_refused(problems, replacements, expected):
    assert problems(*replacements) == ([expected] if isinstance(expected, str) else expected)


@pytest.mark.parametrize(
    ("features", "gate", "extractor", "version"),
    [
        ("classifier:fashion-classifier/3", "kid_classifier", "classifier", "fashion-classifier/3"),
        ("efficientnet_lite0\n  efficientnet_side: 96", "kid_efficientnet", "efficientnet", ""),
        ("inception\n  inception: {path: weights/inception.pt}", "fid", "inception", ""),
    ],
)
def test_an_extractor_names_the_scores_that_the_gate_asks_for(
    tmp_path, features, gate, extractor, version
):
    text = EXAMPLE.replace(FEATURES, f"features: {features}")
    text = text.replace(
        "{metric: kid_classifier, floors: {class_balance: 0.9, cas: 0.5}}", f"{{metric: {gate}}}"
    )
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    params = load_params(tmp_path / "params.yaml")
    assert (params.evaluation.extractor, params.evaluation.classifier_version) == (
        extractor,
        version,
    )
    assert params.evaluation.classifier == ("fashion-classifier" if version else "")
    (tmp_path / "params.yaml").write_text(json.dumps(params.as_json()), encoding="utf-8")
    assert load_params(tmp_path / "params.yaml").evaluation == params.evaluation


MISTAKEN_AUGMENTS = [
    (
        "{colour: true, probability: 1.0, target: 0.5, adapt_kimg: 100}",
        [
            ": probability 1.0 does not adapt. Remove target and adapt_kimg, or write "
            "`probability: adaptive`."
        ],
    ),
    (
        "{probability: adaptive}",
        [
            ": it changes nothing. Add `translation: 0.125, cutout: 0.5, colour: true`, or flip or "
            "quarter_turns, or "
            "remove it."
        ],
    ),
    (
        "{translation: 0.6, cutout: 1.0, probability: adaptive, target: 1.5, adapt_kimg: 0}",
        [
            ".translation = 0.6: should be less than or equal to 0.5.",
            ".cutout = 1.0: should be less than 1.",
            ".target = 1.5: should be less than 1.",
            ".adapt_kimg = 0: should be greater than 0.",
        ],
    ),
    ("{colour: true}", [".probability: missing. Add it."]),
    ("{color: true, probability: 1}", [".color: unknown key. Did you mean 'colour'?"]),
    (
        "{colour: true, probability: 1.5}",
        [".probability = 1.5 is not one of ['adaptive'] and should be less than or equal to 1."],
    ),
    (
        "{colour: true, probability: adaptiv}",
        [".probability = 'adaptiv' is not one of ['adaptive'] and should be a valid number."],
    ),
]


@pytest.mark.parametrize(
    ("given", "expected"), MISTAKEN_AUGMENTS, ids=[given for given, _ in MISTAKEN_AUGMENTS]
)
def test_a_discriminator_augmentation_without_sense_is_refused(problems, given, expected):
    found = problems(("r2_gamma: 1.0", f"r2_gamma: 1.0\n    discriminator_augment: {given}"))
    assert found == [f"models.fashion-gan.discriminator_augment{line}" for line in expected]


def test_the_defaults_of_the_adaptive_probability_are_written_out_and_a_fixed_one_has_none(
    tmp_path,
):
    def resolved(given):
        text = EXAMPLE.replace(
            "r2_gamma: 1.0", f"r2_gamma: 1.0\n    discriminator_augment: {given}"
        )
        (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
        params = load_params(tmp_path / "params.yaml")
        assert type(params).model_validate(params.as_json(), strict=False) == params
        return params.as_json()["models"]["fashion-gan"]["discriminator_augment"]

    changes = {
        "flip": False,
        "quarter_turns": False,
        "translation": 0.1,
        "cutout": 0.0,
        "colour": False,
    }
    ada = {**changes, "probability": "adaptive", "target": 0.6, "adapt_kimg": 100.0}
    assert resolved("{translation: 0.1, probability: adaptive}") == ada
    assert resolved("{translation: 0.1, probability: adaptive, target: 0.5}") == {
        **ada,
        "target": 0.5,
    }
    assert resolved("{translation: 0.1, probability: 1.0}") == {**changes, "probability": 1.0}


@pytest.mark.parametrize(
    ("changes", "expected"), IMPOSSIBLE, ids=[str(text)[:60] for _, text in IMPOSSIBLE]
)
def test_an_impossible_combination_is_refused_before_anything_runs(problems, changes, expected):
    lines = [expected] if isinstance(expected, str) else expected
    assert [line.removesuffix(".") for line in problems(*changes)] == [
        line.removesuffix(".") for line in lines
    ]


def test_all_impossible_combinations_are_named_at_once(problems):
    found = problems(
        ("size: 12}}]", "size: 40}}]"),
        ("metric: psnr", "metric: snr"),
        ("image_size: 28", "image_size: 30"),
    )
    assert len(found) == 3
    assert [line.split(":")[0].split(" ")[0] for line in found] == [
        "models.fashion-gan",
        "models.fashion-inpaint.degradation.0.mask.size",
        "promotion.restoration.metric",
    ]


def test_a_progressive_gan_is_accepted_with_the_sizes_that_its_refusal_names_and_those_keep_every_picture(
    tmp_path,
):
    text = EXAMPLE.replace("image_size: 28", "image_size: 32, min_size: 28")
    for old, new in PROGRESSIVE:
        text = text.replace(old, new, 1)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    params = load_params(tmp_path / "params.yaml")
    assert params.models["fashion-gan"].generator.growth == 0.5
    assert fit_pixels(np.zeros((28, 28, 1), np.uint8), params.datasets["fashion"]).shape == (
        32,
        32,
        1,
    )


@pytest.mark.parametrize("size", ["27", "[26, 27]"])
def test_the_largest_mask_that_is_allowed_fits_into_the_images(tmp_path, size):
    text = EXAMPLE.replace("{mask: {size: 12}}", f"{{mask: {{size: {size}}}}}")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    model = load_params(tmp_path / "params.yaml").models["fashion-inpaint"]
    ((name, values),) = model.degradation[0].model_dump(exclude_none=True).items()
    shape, generator = torch.Size((1, 1, 28, 28)), torch.Generator()
    STEPS[name].draw(shape, generator, **values)


def test_the_largest_sizes_that_are_allowed_are_accepted(tmp_path):
    text = EXAMPLE
    for old, new in [
        *OWN_SIZE,
        ("{noise: {sigma: 0.2}}", "{mask: {size: 63}}, {downsample: {factor: 2}}"),
        ("lr: 2e-3", "crop_size: 64, lr: 2e-3"),
        ("augment: {flip: true}", "crop_size: 28, augment: {crop: 27, cutout: 27}"),
        (
            "network: {name: cnn, width: 24}",
            "data: {limit: 128}\n    network: {name: cnn, width: 24}",
        ),
    ]:
        text = text.replace(old, new, 1)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    models = load_params(tmp_path / "params.yaml").models
    assert (
        models["fashion-denoise"].training.crop_size,
        models["fashion-classifier"].data.limit,
    ) == (64, 128)


def test_the_gate_knows_the_direction_of_every_metric_that_is_measured():
    extractors = ("classifier", *NUM_FEATURES)
    for metric in {
        metric for kind in TRAINING_MODULES for name in extractors for metric in metrics(kind, name)
    }:
        assert higher_is_better(metric) == (
            metric.split("_")[0] not in ("mse", "lpips", "fd", "fid", "kid", "memorisation")
        )
        assert floor_failures(
            Gate(metric=metric, floors={metric: 0.5}), {metric: {"value": np.nan}}
        )


# -- every leaf is read somewhere --------------------------------------------------------------

# What the values of a record are called where they are read, `training.kimg` or
# `model.training.kimg`.
VARIABLES = {
    records.Dataset: {"dataset", "form"},
    records.Source: {"source", "self"},
    records.Training: {"training", "_training"},
    records.Augment: {"augment"},
    records.DiscriminatorAugment: {"wanted", "_wanted"},
    records.TrainingData: {"data"},
    records.Extend: {"extend"},
    records.ClassificationModel: {"model", "recipe", "classifier"},
    records.GanModel: {"model"},
    records.RestorationModel: {"model"},
    records.TranslationModel: {"model"},
    records.Adversarial: {"adversarial"},
    records.Evaluation: {"evaluation", "asked", "params"},
    records.Sampling: {"sampling"},
    records.Pixels: {"asked"},
    records.Lpips: {"lpips", "self"},
    records.InceptionFile: {"inception", "file"},
    records.Promotion: {"promotion"},
    records.Schedule: {"schedule", "self"},
    records.Gate: {"gate"},
    records.Params: {"params"},
}
NETWORKS = {
    records.CnnClassifierNetwork: CLASSIFIERS,
    records.CnnRestorerNetwork: RESTORERS,
    records.CrnnRestorerNetwork: RESTORERS,
    records.UnetRestorerNetwork: RESTORERS,
    records.NafnetRestorerNetwork: RESTORERS,
    records.ResnetSrRestorerNetwork: RESTORERS,
    records.DcganGeneratorNetwork: GENERATORS,
    records.DcganDiscriminatorNetwork: DISCRIMINATORS,
    records.ResnetGeneratorNetwork: GENERATORS,
    records.ResnetDiscriminatorNetwork: DISCRIMINATORS,
    records.ProgressiveGeneratorNetwork: GENERATORS,
    records.ProgressiveDiscriminatorNetwork: DISCRIMINATORS,
    records.R3GeneratorNetwork: GENERATORS,
    records.R3DiscriminatorNetwork: DISCRIMINATORS,
}
STEP_RECORDS = {
    get_args(field.annotation)[0]: name for name, field in records.Degradation.model_fields.items()
}


def read_attributes():
    """(last word before the dot, attribute) of every `a.b` read in src/ and flows/, but in records
    and checks."""
    files = [path for folder in ("src", "flows") for path in (REPOSITORY / folder).rglob("*.py")]
    return attributes_in(
        path for path in files if path.parent.name != "params" or path.name == "references.py"
    )


def attributes_in(files):
    return {
        found
        for path in files
        for found in attributes_of(ast.parse(path.read_text(encoding="utf-8")))
    }


def attributes_of(tree):
    nodes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    ]
    return {
        (re.split(r"\W", ast.unparse(node.value).rstrip(")]"))[-1], node.attr) for node in nodes
    }


def read_fields(record, attributes):
    """Names of the record's fields whose value reaches something."""
    if record in NETWORKS:  # model_dump() -> keyword arguments of the network
        (name,) = get_args(record.model_fields["name"].annotation)
        return {"name", *inspect.signature(NETWORKS[record][name]).parameters}
    if record in STEP_RECORDS:  # model_dump() -> keyword arguments of the step
        step = STEPS[STEP_RECORDS[record]]
        return {
            name
            for part in (step.draw, step.apply)
            for name in list(inspect.signature(part).parameters)[2:]
        }
    if record is records.Degradation:
        return set(STEPS)
    read = {name for variable, name in attributes if variable in VARIABLES.get(record, ())}
    if record is records.Promotion:  # getattr(params.promotion, model.kind)
        models = get_args(get_args(records.Model)[0])
        read |= {
            kind for model in models for kind in get_args(model.model_fields["kind"].annotation)
        }
    for name, member in vars(record).items():
        if (
            isinstance(member, property) and name in read
        ):  # a property that is read reads fields in its turn
            source = inspect.cleandoc("\n" + inspect.getsource(member.fget))
            read |= {
                field for variable, field in attributes_of(ast.parse(source)) if variable == "self"
            }
    return read


def test_every_leaf_of_the_parameters_is_read_somewhere():
    attributes = read_attributes()
    unread = [
        f"{record.__name__}.{field}"
        for record in Record.__subclasses__()
        for field in set(record.model_fields) - read_fields(record, attributes)
    ]
    assert unread == [], (
        "a key of params.yaml that changes nothing (or extend VARIABLES, NETWORKS or STEP_RECORDS)"
    )


@pytest.mark.parametrize("kind", TRAINING_MODULES)
def test_each_of_the_three_loops_reads_every_key_of_training(kind):
    files = [
        REPOSITORY / "src" / "atelier" / name for name in module_hashes(TRAINING_MODULES[kind])
    ]
    asked = set(records.Training.model_fields) - {"devices"}  # how many processes run the loop
    assert asked <= read_fields(records.Training, attributes_in(files))


def test_a_leaf_that_nobody_reads_is_found():
    class Momentum(Record):
        momentum: float

    VARIABLES[Momentum] = {"training"}
    assert read_fields(Momentum, read_attributes()) >= {"kimg", "crop_size"}
    assert "momentum" not in read_fields(Momentum, read_attributes())
    del VARIABLES[Momentum]


def test_every_name_that_the_parameters_allow_can_be_built():
    for record, table in NETWORKS.items():
        (name,) = get_args(record.model_fields["name"].annotation)
        assert name in table
    assert set(records.Degradation.model_fields) == set(STEPS)
