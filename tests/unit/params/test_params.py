import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from atelier.errors import ConfigError
from atelier.params import Degradation, Params, load_params
from tests.support.places import EXAMPLE_FILE, REPOSITORY

EXAMPLE = EXAMPLE_FILE.read_text(encoding="utf-8")


@pytest.fixture
def load(tmp_path):
    """Load the example after some texts in it were replaced."""

    def load_changed(*replacements, text=EXAMPLE, overrides=()):
        for old, new in replacements:
            assert old in text, f"the example has no {old!r} any more"
            text = text.replace(old, new, 1)
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        return load_params(path, overrides)

    return load_changed


def problems(error):
    """The lines of a ConfigError, each mistake one line, without its head."""
    head, *lines = str(error.value).splitlines()
    assert (
        head
        == f"params.yaml: {len(lines)} mistake{'s' if len(lines) > 1 else ''}, nothing was run:"
    )
    return [line.removeprefix("  ") for line in lines]


def test_the_shipped_file_loads():
    params = load_params(REPOSITORY / "params.yaml")
    kinds = {name: model.kind for name, model in params.models.items()}
    assert kinds == {
        "fashion-classifier": "classification",
        "fashion-gan": "gan",
        "fashion-denoise": "restoration",
        "fashion-inpaint": "restoration",
    }
    assert params.evaluation.classifier == "fashion-classifier"


def test_values_are_those_of_the_file(load):
    params = load()
    assert params.models["fashion-gan"].training.betas == (0.0, 0.99)
    assert params.models["fashion-denoise"].degradation[0].noise.sigma == 0.2


def test_resolved_parameters_load_again_to_the_same(load):
    params = load()
    assert Params.model_validate_json(params.model_dump_json()) == params
    resolved = params.as_json()
    assert Params.model_validate(resolved, strict=False) == params
    assert (
        resolved["models"]["fashion-gan"]["training"]["log_every_kimg"] == 5.0
    )  # a default is written out
    assert "path" not in resolved["datasets"]["fashion"]


ALL_STEPS = """[{gaussian_blur: {sigma: [0.5, 2]}}, {box_blur: {radius: [1, 3]}}, {motion_blur: {length: [3, 9]}},
  {motion_blur: {length: 3, angle: 90}}, {speckle: {sigma: 0.1}}, {poisson: {peak: [10, 100]}},
  {salt_and_pepper: {fraction: [0.01, 0.1]}}, {mask: {size: [3, 9], count: [1, 4]}}, {strokes: {width: 2, count: 3}},
  {missing_pixels: {fraction: 0.5}}, {jpeg: {quality: [10, 40]}}, {noise: {sigma: [0.1, 1]}}]"""


@pytest.mark.filterwarnings("error")
def test_a_range_is_kept_as_it_stands_in_the_file(load):
    params = load(("[{noise: {sigma: 0.2}}]", ALL_STEPS))
    steps = params.models["fashion-denoise"].degradation
    assert steps[0].gaussian_blur.sigma == (0.5, 2.0) and steps[7].mask.count == (1, 4)
    assert steps[2].motion_blur.angle == (0.0, 180.0) and steps[8].strokes.width == 2.0
    assert Params.model_validate_json(params.model_dump_json()) == params
    resolved = params.as_json()
    assert resolved["models"]["fashion-denoise"]["degradation"][11] == {
        "noise": {"sigma": [0.1, 1.0]}
    }
    assert Params.model_validate(resolved, strict=False) == params


def test_an_override_reaches_into_a_range(load):
    change = "models.fashion-denoise.degradation.0.noise.sigma.1=0.5"
    params = load(("{sigma: 0.2}", "{sigma: [0.1, 0.2]}"), overrides=[change])
    assert params.models["fashion-denoise"].degradation[0].noise.sigma == (0.1, 0.5)


def test_records_are_frozen(load):
    params = load()
    for record in (params, params.models["fashion-gan"].training, params.datasets["fashion"]):
        field = next(iter(type(record).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, field, getattr(record, field))


def test_1e_4_is_a_number_and_no_is_not(load):
    assert load(("lr: 3e-3", "lr: 1e-4")).models["fashion-classifier"].training.lr == 1e-4
    with pytest.raises(ConfigError) as error:
        load(("lr: 3e-3", "lr: no"))
    assert problems(error) == [
        "models.fashion-classifier.training.lr = 'no': should be a valid number."
    ]


ONE_MISTAKE = [
    ("seed: 7", "seed: 7\nsed: 7", "sed: unknown key. Did you mean 'seed'?"),
    (
        "kimg: 300,",
        "kimg: 300, kigm: 3,",
        "models.fashion-classifier.training.kigm: unknown key. Did you mean 'kimg'?",
    ),
    (
        "depth: 6",
        "depth: 6, dept: 6",
        "models.fashion-denoise.network.dept: unknown key. Did you mean 'depth'?",
    ),
    (
        "iterations: 4",
        "iterations: 4, iteration: 4",
        "models.fashion-inpaint.network.iteration: unknown key. Did you mean 'iterations'?",
    ),
    ("{sigma: 0.2}", "{sigma: 0.2, sgma: 1}", "noise.sgma: unknown key. Did you mean 'sigma'?"),
    (
        "{noise:",
        "{nose:",
        "models.fashion-denoise.degradation.0.nose: unknown key. Did you mean 'noise'?",
    ),
    ("seed: 7", "seed: 7\nxyz: 1", "xyz: unknown key. Known: seed, device, threads,"),
    (
        "kimg: 300",
        'kimg: "300"',
        "models.fashion-classifier.training.kimg = '300': should be a valid number.",
    ),
    (
        "width: 24",
        "width: 24.5",
        "models.fashion-classifier.network.width = 24.5: should be a valid integer",
    ),
    (
        "flip: true",
        "flip: yes",
        "models.fashion-classifier.training.augment.flip = 'yes': should be a valid boolean",
    ),
    (
        "{flip: true}",
        "{flop: true}",
        "classifier.training.augment.flop: unknown key. Did you mean 'flip'?",
    ),
    (
        "{flip: true}",
        "{rotate: 90}",
        "training.augment.rotate = 90: should be less than or equal to 45.",
    ),
    (
        "kimg: 300,",
        "kimg: 300, crop_size: 8,",
        "training.crop_size = 8: should be greater than or equal to 16.",
    ),
    (
        "    network:",
        "    data: {limit: 0}\n    network:",
        "classifier.data.limit = 0: should be greater than or",
    ),
    ("channels: 1", "channels: '1'", "datasets.fashion.channels = '1' is not one of [1, 3]."),
    ("seed: 7", "seed: -1", "seed = -1: should be greater than or equal to 0."),
    ("seed: 7", "seed: 2147483648", "seed = 2147483648: should be less than 2147483648."),
    (
        "lr: 3e-3",
        "lr: .inf",
        "models.fashion-classifier.training.lr = inf: should be a finite number.",
    ),
    (
        "lr: 3e-3",
        "lr: .nan",
        "models.fashion-classifier.training.lr = nan: should be a finite number.",
    ),
    ("lr: 3e-3", "lr: 0", "models.fashion-classifier.training.lr = 0: should be greater than 0."),
    (
        "sigma: 0.2",
        "sigma: 20",
        "models.fashion-denoise.degradation.0.noise.sigma = 20: should be less than or equal",
    ),
    ("[0.0, 0.99]", "[0.0, 1]", "models.fashion-gan.training.betas.1 = 1: should be less than 1."),
    ("[0.0, 0.99]", "[0.0]", "models.fashion-gan.training.betas.1: missing. Add it."),
    ("confidence: 0.95", "confidence: 95", "evaluation.confidence = 95: should be less than 1."),
    ("device: auto", "device: gpu", "device = 'gpu' does not match ^(auto|cpu|cuda"),
    (
        "threads: auto",
        "threads: 0",
        "threads = 0 is not one of ['auto'] and should be greater than or equal to 1.",
    ),
    (
        "threads: auto",
        "threads: all",
        "threads = 'all' is not one of ['auto'] and should be a valid integer.",
    ),
    (
        "kind: gan",
        "kind: gam",
        "fashion-gan.kind = 'gam' is not one of ['classification', 'gan', 'restoration', "
        "'translation'].",
    ),
    ("    kind: gan\n", "", "models.fashion-gan.kind: missing. Add it."),
    (
        "name: crnn",
        "name: u-net",
        "network.name = 'u-net' is not one of ['cnn', 'crnn', 'unet', 'nafnet', 'resnet_sr'].",
    ),
    (
        "iterations: 4",
        "iterations: 4, cell: GRU",
        "inpaint.network.cell = 'GRU' is not one of ['gru', 'lstm'].",
    ),
    ("depth: 6", "depth: 6, noise_level: 1", "network.noise_level = 1: should be a valid boolean"),
    (
        "loss: relativistic",
        "loss: wgan",
        "models.fashion-gan.loss = 'wgan' is not one of ['minimax', 'non-saturating', "
        "'relativistic', 'least-squa",
    ),
    (
        "loss: relativistic\n    r1_gamma: 1.0\n    r2_gamma: 1.0",
        "loss: wasserstein\n    r1_gamma: 0.0\n    r2_gamma: 0.0",
        "models.fashion-gan: loss 'wasserstein' grows without end unless the discriminator's slope "
        "is held: add `gp_w",
    ),
    (
        "loss: relativistic\n    r1_gamma: 1.0\n    r2_gamma: 1.0",
        "loss: hinge\n    r1_gamma: 0.0\n    r2_gamma: 0.0\n    penalty_every: 8",
        "models.fashion-gan: penalty_every: 8 has no penalty to leave out. Add `r1_gamma: 1.0`, "
        "or remove it.",
    ),
    (
        "fashion-gan:",
        "Fashion_GAN:",
        "models.Fashion_GAN = 'Fashion_GAN' does not match ^[a-z0-9][a-z0-9-]*$.",
    ),
    ("evaluation:", "  empty:\nevaluation:", "models.empty = None: should be an object."),
    (
        "source: fashion-mnist",
        "source: folder",
        "datasets.fashion: source 'folder' needs a path: add `path: ...`.",
    ),
    (
        "{noise: {sigma: 0.2}}",
        "{noise: {sigma: 0.2}, mask: {size: 3}}",
        "missing_pixels, downsample, jpeg, decolourise; this one has ['mask', 'noise'].",
    ),
    (
        "{sigma: 0.2}",
        "{sigma: [0.1, 2]}",
        "degradation.0.noise.sigma = 2: should be less than or equal to 1.",
    ),
    (
        "{sigma: 0.2}",
        "{sigma: [0.2, 0.1]}",
        "noise.sigma = [0.2, 0.1]: should be a range [low, high] with low below",
    ),
    (
        "{sigma: 0.2}",
        "{sigma: [0.2, 0.2]}",
        "noise.sigma = [0.2, 0.2]: should be a range [low, high] with low below",
    ),
    (
        "{sigma: 0.2}",
        "{sigma: [0.2]}",
        "noise.sigma = [0.2]: should be a number or a range [low, high].",
    ),
    ("{sigma: 0.2}", "{sigma: ['0', 1]}", "noise.sigma = '0': should be a valid number."),
    ("{sigma: 0.2}", "{sigma: .nan}", "degradation.0.noise.sigma = nan: should be"),
    ("{size: 12}", "{size: [4, 8.5]}", "degradation.0.mask.size = 8.5: should be a valid integer"),
    (
        "{size: 12}",
        "{size: 12, count: 0}",
        "degradation.0.mask.count = 0: should be greater than or equal to 1.",
    ),
    (
        "{noise: {sigma: 0.2}}",
        "{jpeg: {quality: 101}}",
        "0.jpeg.quality = 101: should be less than or equal to 100.",
    ),
    (
        "{noise: {sigma: 0.2}}",
        "{downsample: {factor: 5}}",
        "downsample.factor = 5 is not one of [2, 3, 4].",
    ),
    (
        "{noise: {sigma: 0.2}}",
        "{motion_blur: {length: 9, angel: 3}}",
        "angel: unknown key. Did you mean 'angle'?",
    ),
    (
        "{noise: {sigma: 0.2}}",
        "{kernel_blur: {path: k.npz, sha256: 12}}",
        "kernel_blur.sha256 = 12: should be a valid",
    ),
    ("{noise: {sigma: 0.2}}", "{}", "degradation.0: a degradation step has exactly one key of"),
    (
        "{noise: {sigma: 0.2}}",
        "{noise: }",
        "degradation.0: a degradation step has exactly one key of",
    ),
    (
        "[{noise: {sigma: 0.2}}]",
        "[]",
        "models.fashion-denoise.degradation = []: tuple should have at least 1 item",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "expected"), ONE_MISTAKE, ids=lambda text: text.strip()[:30]
)
def test_one_mistake_is_one_line_with_path_value_and_what_is_allowed(load, old, new, expected):
    with pytest.raises(ConfigError) as error:
        load((old, new))
    (problem,) = problems(error)
    assert expected in problem
    assert problem.endswith((".", "?")) or "Known: " in problem


NO_PENALTY = ("    r1_gamma: 1.0\n    r2_gamma: 1.0\n", "    r1_gamma: 0.0\n    r2_gamma: 0.0\n")
RESNET = ("discriminator: {name: dcgan, width: 48}", "discriminator: {name: resnet, width: 48}")
PENALTY = ("    r2_gamma: 0.0\n", "    r2_gamma: 0.0\n    gp_weight: 10\n")


@pytest.mark.parametrize(
    "held", [[], [NO_PENALTY, PENALTY], [NO_PENALTY, RESNET]], ids=["r1", "gp", "spectral norm"]
)
def test_a_wasserstein_critic_can_be_held_in_three_ways(load, held):
    assert (
        load(*held, ("loss: relativistic", "loss: wasserstein")).models["fashion-gan"].loss
        == "wasserstein"
    )


def test_a_missing_section_is_named(load):
    with pytest.raises(ConfigError) as error:
        load(text=EXAMPLE[: EXAMPLE.index("models:")])
    assert "models: missing. Add it." in problems(error)


def test_all_mistakes_are_named_at_once(load):
    with pytest.raises(ConfigError) as error:
        load(("seed: 7", "seed: '7'"), ("kimg: 500", "kigm: 500"), ("sigma: 0.2", "sigma: -1"))
    assert problems(error) == [
        "seed = '7': should be a valid integer.",
        "models.fashion-gan.training.kigm: unknown key. Did you mean 'kimg'?",
        "models.fashion-denoise.degradation.0.noise.sigma = -1: should be greater than 0.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"params.yaml is empty or not a mapping; it needs the keys \['seed', 'device', "),
        ("- 1", "is empty or not a mapping"),
        ("a: [", "params.yaml is not valid YAML: .*line 1"),
        (EXAMPLE + "\nseed: 8\n", 'not valid YAML: .*duplicate key "seed"'),
        ("seed: \x01", "not valid YAML: .*special characters are not allowed"),
        (EXAMPLE + "\n---\nseed: 8\n", "not valid YAML: expected a single document"),
        ("seed: !!python/object:os.system 3", "not valid YAML: could not determine a constructor"),
        ("? [1, 2]\n: 3", "not valid YAML: keys must be str.* not tuple"),
        ("seed: &a [*a]", "not valid YAML: Circular reference"),
        ("seed: " + "[" * 3000, "not valid YAML: nested too deeply"),
        ("seed: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
    ],
    ids=lambda text: text.strip()[:20],
)
def test_what_is_no_mapping_is_refused_in_words(load, text, expected):
    with pytest.raises(ConfigError, match=expected):
        load(text=text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match=re.escape(f"{tmp_path / 'none.yaml'} does not exist. Run atelier in a")
    ):
        load_params(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"can't be read: .*Is a directory"):
        load_params(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary.yaml can't be read: .*utf-8"):
        load_params(tmp_path / "binary.yaml")


def test_overrides_reach_every_depth(load):
    params = load(
        overrides=[
            "seed=8",
            "models.fashion-gan.training.lr=1e-4",
            "models.fashion-gan.training.betas.0=0.5",
            "models.fashion-denoise.degradation.0.noise.sigma=0.3",
            "models.fashion-inpaint.degradation=[{noise: {sigma: 0.1}}]",
            "datasets.fashion.path=a=b",
            "seed=9",
        ]
    )
    assert params.seed == 9  # the last one holds
    assert params.models["fashion-gan"].training.lr == 1e-4
    assert params.models["fashion-gan"].training.betas == (0.5, 0.99)
    assert params.models["fashion-denoise"].degradation[0].noise.sigma == 0.3
    assert params.models["fashion-inpaint"].degradation[0].noise.sigma == 0.1
    assert params.datasets["fashion"].sources[0].path == "a=b"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("seed", "-S seed: expected dotted.key=value, for example -S seed=8."),
        ("=3", "expected dotted.key=value"),
        ("seed.=3", "expected dotted.key=value"),
        ("seed=[", "-S seed=[: '[' is not a YAML value."),
        ("models=&a [*a]", "is not a YAML value"),
        ("sede.x=1", "-S sede.x=1: there is no sede in params.yaml. Did you mean 'seed'?"),
        (
            "models.fashion-gann.training.lr=1",
            "no models.fashion-gann in params.yaml. Did you mean 'fashion-gan'?",
        ),
        (
            "models.fashion-gan.trainin.lr=1",
            "no models.fashion-gan.trainin in params.yaml. Did you mean 'training'?",
        ),
        (
            "models.fashion-gan.training.lrr=1",
            "models.fashion-gan.training.lrr: unknown key. Did you mean 'lr'?",
        ),
        (
            "models.fashion-denoise.degradation.1.noise.sigma=1",
            "is no models.fashion-denoise.degradation.1 in",
        ),
        (
            "models.fashion-denoise.degradation.7={}",
            "models.fashion-denoise.degradation has no key '7'.",
        ),
        ("seed.x=3", "seed has no key 'x'."),
        ("seed=", "seed = None: should be a valid integer."),
        ("seed=1e3", "seed = 1000.0: should be a valid integer."),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(load, given, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(overrides=[given])


@given(
    value=st.one_of(
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
        st.none(),
    ),
    key=st.sampled_from(
        [
            "seed",
            "device",
            "models.fashion-gan.training.lr",
            "models.fashion-gan.network.width",
            "x",
        ]
    ),
)
def test_no_override_ever_ends_in_another_error(value, key, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "example.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    try:
        load_params(path, [f"{key}={value}"])
    except ConfigError as error:
        assert key.split(".")[0] in str(error) or key in str(error)


def test_an_override_reaches_into_a_section_that_the_file_leaves_out(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    overrides = [
        "models.fashion-denoise.data.limit=500",
        "models.fashion-gan.training.augment.flip=true",
    ]
    params = load_params(path, overrides)
    assert params.models["fashion-denoise"].data.limit == 500
    assert params.models["fashion-gan"].training.augment.flip
    with pytest.raises(
        ConfigError,
        match=r"there is no models.fashion-gan.dat in params.yaml. Did you mean 'dataset'",
    ):
        load_params(path, ["models.fashion-gan.dat.limit=500"])


def test_a_file_of_kernels_is_found_from_the_project_folder_whatever_the_working_directory(
    tmp_path,
):
    step = Degradation.model_validate(
        {"kernel_blur": {"path": "raw/kernels.npz", "sha256": "0" * 64}}
    )
    assert step.resolve_paths(tmp_path).kernel_blur.path == str(tmp_path / "raw" / "kernels.npz")
    other = Degradation.model_validate({"noise": {"sigma": 0.1}})
    assert other.resolve_paths(tmp_path) is other
